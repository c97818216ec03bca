"""The C++ kernels as functions of numpy arrays: counting zeros, matching feature maps.

This is the one module that touches the extension ``pyedge._core``. It needs numpy alone.

Feature maps are float32 arrays of logical shape [n, c, h, w], in one of two memory layouts that
both cross to C++ without a copy: NCHW (C-contiguous) and channels-last
(``x.transpose(0, 2, 3, 1)`` is C-contiguous: a numpy NHWC array seen as NCHW, or a torch tensor
in ``channels_last``). Anything else is a `TypeError`.

The instruction set is chosen at import by what the CPU can do; the environment variable
``PYEDGE_ISA`` (reference, avx2, avx512, neon) forces one. ``PYEDGE_NUM_THREADS`` sets the number
of threads, by default the big ones of the CPUs that the process may use (`cpus`); results do not
depend on it. The GIL is released while a kernel runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyedge import _core

__all__ = [
    "Cpus",
    "Engine",
    "Match",
    "available_isas",
    "cosine_match",
    "cosine_match_gradient",
    "cpus",
    "fma_rate",
    "isa",
    "num_threads",
    "plain_sum",
    "set_isa",
    "set_num_threads",
    "zero_count",
    "zero_count_affine",
]

FloatMaps = NDArray[np.float32]

# The edge engine: pyedge.edge.learner is its user, csrc/engine/engine.hpp its description. It
# serves one call at a time: a second thread's is a RuntimeError.
Engine = _core.Engine


class Match(NamedTuple):
    """How well each of k candidate teachers matches a student's map.

    The arrays are [k] (one value a batch) or [k, n] (one an image); `student_norm` is a scalar
    array or [n]. `distance` is the paper's J_b. `best` is the candidate with the largest cosine
    (its mean over the images), the paper's k*.
    """

    cosine: NDArray[np.float64]
    teacher_norm: NDArray[np.float64]
    student_norm: NDArray[np.float64]
    distance: NDArray[np.float64]
    best: int


class Cpus(NamedTuple):
    """The CPUs that this process may use, as they were when the package was imported.

    `capacities` are on the kernel's scale, on which the machine's fastest CPU has 1024; `big` are
    the CPUs that the threads are meant for: those above the widest gap between two capacities, if
    that is a factor of 1.5 or more, else all. `source` says what told the capacities:
    cpu_capacity (the kernel), "clock and core" (an estimate), or nothing (then all are alike).
    """

    numbers: tuple[int, ...]
    capacities: tuple[float, ...]
    big: tuple[int, ...]
    source: str


def cpus() -> Cpus:
    """Tell which CPUs this process may use, and which of them are big.

    All fields but `source` are empty where the system does not tell (other than Linux).
    """
    found, big, source = _core.cpus()
    return Cpus(tuple(n for n, _ in found), tuple(c for _, c in found), tuple(big), source)


def isa() -> str:
    """Name the instruction set in use: reference, avx2, avx512 or neon."""
    return _core.isa()


def available_isas() -> tuple[str, ...]:
    """Name the instruction sets that this CPU can run, slowest first."""
    return tuple(_core.available_isas())


def set_isa(name: str) -> None:
    """Use another instruction set from here on (for tests and benchmarks).

    Engines keep the one with which they were made, and calls that run the one they began with.

    Raises ValueError if `name` is not one of `available_isas()`.
    """
    if not isinstance(name, str):
        raise TypeError(f"set_isa: name must be a str, not {type(name).__name__}")
    _core.set_isa(name)


def num_threads() -> int:
    """Tell how many threads the kernels use, the calling one included."""
    return _core.num_threads()


def set_num_threads(count: int) -> None:
    """Set how many threads the kernels use, from 1 to 1024 (ValueError otherwise).

    It is the process's number, for all its threads; calls that run go on as they began. A learner's
    `threads=`, or Engine.set_threads, is for that one alone.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"set_num_threads: count must be an int, not {type(count).__name__}")
    if not 1 <= count <= 1024:
        raise ValueError(f"set_num_threads: count must be from 1 to 1024, not {count}")
    _core.set_num_threads(int(count))


def plain_sum(x: FloatMaps) -> float:
    """Add up x [n, c, h, w] as fast as it can be read: the benchmarks' floor, not for results."""
    return _core.plain_sum(_maps("plain_sum", "x", x))


def fma_rate(seconds: float = 0.2) -> float:
    """Measure the machine's GFLOP/s (two a multiply-add) over all threads, for benchmarks."""
    if not 0 < seconds < 60:
        raise ValueError(f"fma_rate: seconds must lie between 0 and 60, not {seconds}")
    return _core.fma_rate(seconds)


def zero_count(x: FloatMaps) -> NDArray[np.int32]:
    """Count the zeros in each activation map.

    x [n, c, h, w], after ReLU -> counts [n, c]; divided by h * w they are the zero fractions of
    the paper's Eq. 2. Both signs of zero count, NaN does not.

    Raises TypeError for another dtype or memory layout, ValueError for another shape.
    """
    return _core.zero_count(_maps("zero_count", "x", x))


def zero_count_affine(
    x: FloatMaps, scale: NDArray[np.float32], shift: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Count what a per-channel affine followed by ReLU would zero: ``scale * x + shift <= 0``.

    x [n, c, h, w], scale [c], shift [c] -> counts [n, c]. The product is rounded to float32
    before the sum is, as torch and numpy do it. With a frozen batch norm as scale and shift this
    is `zero_count` of its activation, which need not be stored. NaN does not count.

    Raises TypeError for another dtype or memory layout, ValueError for another shape.
    """
    function = "zero_count_affine"
    _maps(function, "x", x)
    for name, factors in (("scale", scale), ("shift", shift)):
        _float32(function, name, factors)
        if factors.shape != (x.shape[1],):
            raise ValueError(
                f"{function}: {name} must have shape ({x.shape[1]},), one for each channel of x, "
                f"not {factors.shape}"
            )
    return _core.zero_count_affine(x, np.ascontiguousarray(scale), np.ascontiguousarray(shift))


def cosine_match(
    student: FloatMaps,
    teachers: Sequence[FloatMaps],
    kept: NDArray[np.int64] | None = None,
    norms: Literal["batch", "image"] = "batch",
) -> Match:
    """Compare a student's map with each candidate teacher's: cosine, norms and J_b.

    student [n, c_s, h, w], teachers k x [n, c_t, h, w], kept [c_s]: the teacher's channels that
    the student's face, strictly increasing; None: the first c_s. The paper (Sec. 4, Eq. 3 and 4)
    pads the student with zero channels to c_t; here the padding is never made, since with it
    ``cos = <t[:, kept], s> / (|t| |s|)`` and ``J_b = |t/|t| - s/|s|| = sqrt(2 - 2 cos)``.

    norms="batch" takes norms over the whole batch, as the paper does; "image" over each image.
    Sums are in float64: where student and teacher are equal, J_b is exactly 0, and nearby it is
    right to a few 1e-15 / J_b. A zero map has no direction: its cosine is 0, its J_b sqrt(2).

    Raises TypeError for another dtype or memory layout, or if the layouts differ; ValueError for
    shapes that do not fit, a bad `kept`, and NaN or infinity in a map.
    """
    function = "cosine_match"
    if isinstance(teachers, np.ndarray) or not isinstance(teachers, Sequence):
        raise TypeError(
            f"{function}: teachers must be a sequence of arrays, not {type(teachers).__name__}"
        )
    if not teachers:
        raise ValueError(f"{function}: teachers must hold at least one array")
    if norms not in ("batch", "image"):
        raise ValueError(f'{function}: norms must be "batch" or "image", not {norms!r}')
    named = [(f"teachers[{i}]", teacher) for i, teacher in enumerate(teachers)]
    kept = _pair(function, student, named, kept)
    cosine, teacher_norm, student_norm, distance = _core.cosine_match(
        student, list(teachers), kept, norms == "image"
    )
    best = int(cosine.sum(axis=1).argmax())
    if norms == "image":
        return Match(cosine, teacher_norm, student_norm, distance, best)
    return Match(cosine[:, 0], teacher_norm[:, 0], student_norm[0, ...], distance[:, 0], best)


def cosine_match_gradient(
    student: FloatMaps,
    teacher: FloatMaps,
    kept: NDArray[np.int64] | None,
    cosine: ArrayLike,
    teacher_norm: ArrayLike,
    student_norm: ArrayLike,
    scale: float = 1.0,
    out: FloatMaps | None = None,
) -> FloatMaps:
    """Compute the gradient of ``scale * J_b`` with respect to the student's map.

    student [n, c_s, h, w], teacher [n, c_t, h, w] (the chosen candidate), kept as for
    `cosine_match`; cosine and norms are those of the chosen candidate in its `Match`, scalars for
    norms="batch" or [n] for norms="image", whose gradient is that of the mean of J_b over images.
    Returns an array like `student`, in its memory layout, or fills `out`. The memory of a large
    result is used again for a later one, once nothing refers to it any more.

    ``dJ_b/ds = -(t/|t| - cos s/|s|) / (J_b |s|)``, in float64 before it is rounded. It is 0 where
    J_b is 0 (the gradient has no direction there) and for a zero map.

    Raises TypeError and ValueError as `cosine_match` does.
    """
    function = "cosine_match_gradient"
    kept = _pair(function, student, [("teacher", teacher)], kept)
    n = student.shape[0]
    numbers = {"cosine": cosine, "teacher_norm": teacher_norm, "student_norm": student_norm}
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in numbers.items()}
    for name, array in arrays.items():
        if array.shape != arrays["cosine"].shape or array.shape not in ((), (n,)):
            raise ValueError(
                f"{function}: {name} must be a scalar, or of shape ({n},), one for each image, "
                f"and shaped as cosine is, not {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{function}: {name} must be finite")
    if (np.abs(arrays["cosine"]) > 1).any():
        raise ValueError(f"{function}: cosine must be from -1 to 1")
    if not math.isfinite(scale):
        raise ValueError(f"{function}: scale must be finite, not {scale}")
    if arrays["cosine"].ndim:
        scale /= max(n, 1)
    if out is None:
        out = _core.empty_like(student)
    else:
        _maps(function, "out", out)
        if out.shape != student.shape or _layouts(out).isdisjoint(_layouts(student)):
            raise ValueError(
                f"{function}: out must have the student's shape {student.shape} and memory "
                f"layout, not {out.shape}"
            )
        if not out.flags.writeable:
            raise ValueError(f"{function}: out must be writeable")
    cosines, teacher_norms, student_norms = (np.atleast_1d(a) for a in arrays.values())
    _core.cosine_match_gradient(
        student, teacher, kept, cosines, teacher_norms, student_norms, scale, out
    )
    return out


def _float32(function: str, name: str, x: Any) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{function}: {name} must be a numpy array, not {type(x).__name__}")
    if x.dtype != np.float32:
        raise TypeError(f"{function}: {name} must be float32, not {x.dtype}")


def _layouts(x: FloatMaps) -> set[str]:
    """Tell which of the two memory layouts `x` has: both where c or h * w is 1."""
    layouts = {"NCHW"} if x.flags.c_contiguous else set()
    return layouts | ({"channels-last"} if x.transpose(0, 2, 3, 1).flags.c_contiguous else set())


def _maps(function: str, name: str, x: Any) -> FloatMaps:
    """Check that `x` holds feature maps that C++ can read where they lie."""
    _float32(function, name, x)
    if x.ndim != 4:
        raise ValueError(f"{function}: {name} must have shape [n, c, h, w], not {x.shape}")
    if not x.flags.aligned or not _layouts(x):
        raise TypeError(
            f"{function}: {name} must be NCHW (C-contiguous) or channels-last memory, not shape "
            f"{x.shape} with strides {x.strides}; np.ascontiguousarray makes it NCHW"
        )
    return x


def _pair(
    function: str,
    student: FloatMaps,
    teachers: Sequence[tuple[str, FloatMaps]],
    kept: NDArray[np.int64] | None,
) -> NDArray[np.int64] | None:
    """Check a student against its teachers; return `kept`, contiguous."""
    common = _layouts(_maps(function, "student", student))
    n, c, h, w = student.shape
    width = None
    for name, teacher in teachers:
        _maps(function, name, teacher)
        if width is None:
            width = teacher.shape[1]
        if teacher.shape != (n, width, h, w):
            raise ValueError(
                f"{function}: {name} must have shape {(n, width, h, w)} to face a student of shape "
                f"{student.shape}, not {teacher.shape}"
            )
        common &= _layouts(teacher)
        if not common:
            raise TypeError(
                f"{function}: {name} must have the memory layout of the student and of the other "
                f"teachers (NCHW or channels-last)"
            )
    assert width is not None
    if c > width:
        raise ValueError(
            f"{function}: student must not have more channels than its teachers' {width}, but "
            f"has {c}"
        )
    if kept is None:
        return None
    if not isinstance(kept, np.ndarray) or kept.dtype != np.int64:
        came = kept.dtype if isinstance(kept, np.ndarray) else type(kept).__name__
        raise TypeError(f"{function}: kept must be an int64 array or None, not {came}")
    if kept.shape != (c,):
        raise ValueError(
            f"{function}: kept must have shape ({c},), one for each channel of the student, "
            f"not {kept.shape}"
        )
    if c and (kept[0] < 0 or kept[-1] >= width or (np.diff(kept) <= 0).any()):
        raise ValueError(
            f"{function}: kept must rise strictly within [0, {width}), the teacher's channels"
        )
    return np.ascontiguousarray(kept)
