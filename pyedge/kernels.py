"""The C++ kernels as functions of numpy arrays: counting zeros, matching maps, second moments.

This is the one module that touches the extension ``pyedge._core``. It needs only numpy.

Feature maps are float32 arrays of logical shape [n, c, h, w], in one of two memory layouts that
both cross to C++ without a copy: NCHW (C-contiguous) and channels-last
(``x.transpose(0, 2, 3, 1)`` is C-contiguous: a numpy NHWC array seen as NCHW, or a torch tensor
in ``channels_last``). Anything else is a `TypeError`.

The instruction set is chosen at import by what the CPU can do; the environment variable
``PYEDGE_ISA`` (reference, avx2, avx512, neon) forces one. ``PYEDGE_NUM_THREADS`` sets the number
of threads, by default one for each big CPU that the process may use (`cpus`); results do not
depend on it. The GIL is released while a kernel runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyedge import _core
from pyedge.kernel_arguments import FloatMaps, float32, layouts, maps, pair, table

__all__ = [
    "LARGEST_VALUE",
    "Cpus",
    "Engine",
    "Match",
    "NotFiniteError",
    "add_second_moments",
    "available_isas",
    "cosine_match",
    "cosine_match_gradient",
    "cpus",
    "fma_rate",
    "half_type",
    "int8_type",
    "isa",
    "num_threads",
    "plain_sum",
    "quantise",
    "set_isa",
    "set_num_threads",
    "zero_count",
    "zero_count_affine",
]

# The edge engine: pyedge.edge.learner is its user, csrc/engine/engine.hpp its description. It
# serves one call at a time: a second thread's is a RuntimeError.
Engine = _core.Engine
# a step whose loss or gradients are not finite: `quantity` says which
NotFiniteError = _core.NotFiniteError


#: Up to this absolute value second moments are exact.
LARGEST_VALUE: int = _core.largest_moment_value


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
    that is a factor of 1.5 or more, else all. `source` says where the capacities come from:
    cpu_capacity (the kernel), "clock and core" (an estimate), or nothing (then all are alike).
    """

    numbers: tuple[int, ...]
    capacities: tuple[float, ...]
    big: tuple[int, ...]
    source: str


def cpus() -> Cpus:
    """Tell which CPUs this process may use, and which of them are big.

    All fields but `source` are empty on systems that do not tell (all but Linux).
    """
    found, big, source = _core.cpus()
    return Cpus(tuple(n for n, _ in found), tuple(c for _, c in found), tuple(big), source)


def isa() -> str:
    """Name the instruction set in use: reference, avx2, avx512 or neon."""
    return _core.isa()


def half_type() -> str | None:
    """Name the 16-bit type of half precision on the instruction set in use; None: it has none.

    "bf16" (bfloat16) on avx512 and neon where the CPU multiplies it (AVX512-BF16, BFDOT), and on
    reference, which emulates it.
    """
    return _core.half_type()


def int8_type() -> str | None:
    """Name the products of 8-bit numbers on the instruction set in use; None: it has none.

    "vnni" on avx512 where the CPU has AVX512-VNNI, "dotprod" on neon where it has SDOT, "emulated"
    on reference.
    """
    return _core.int8_type()


def available_isas() -> tuple[str, ...]:
    """Name the instruction sets that this CPU can run, slowest first."""
    return tuple(_core.available_isas())


def set_isa(name: str) -> None:
    """Use another instruction set from now on (for tests and benchmarks).

    Engines keep the one that they were made with; running calls keep the one that they began with.

    Raises ValueError if `name` is not one of `available_isas()`.
    """
    if not isinstance(name, str):
        raise TypeError(f"set_isa: name: wanted a str, got {type(name).__name__}")
    _core.set_isa(name)


def num_threads() -> int:
    """Tell how many threads the kernels use, the calling one included."""
    return _core.num_threads()


def set_num_threads(count: int) -> None:
    """Set how many threads the kernels use, from 1 to 1024 (ValueError otherwise).

    The number is for the whole process; running calls go on as they began. A learner's `threads=`,
    or Engine.set_threads, sets it for that learner or engine only.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"set_num_threads: count: wanted an int, got {type(count).__name__}")
    if not 1 <= count <= 1024:
        raise ValueError(f"set_num_threads: count: wanted 1 to 1024, got {count}")
    _core.set_num_threads(int(count))


def plain_sum(x: FloatMaps) -> float:
    """Add up x [n, c, h, w] as fast as it can be read: a floor for benchmarks, not for results."""
    return _core.plain_sum(maps("plain_sum", "x", x))


def fma_rate(seconds: float = 0.2) -> float:
    """Measure the machine's GFLOP/s (two a multiply-add) over all threads, for benchmarks."""
    if not 0 < seconds < 60:
        raise ValueError(f"fma_rate: seconds: wanted more than 0 and less than 60, got {seconds}")
    return _core.fma_rate(seconds)


def zero_count(x: FloatMaps) -> NDArray[np.int32]:
    """Count the zeros in each activation map.

    x [n, c, h, w], after ReLU -> counts [n, c]; divided by h * w they are the zero fractions of
    the paper's Eq. 2. Both signs of zero count, NaN does not.

    Raises TypeError for another dtype or memory layout, ValueError for another shape.
    """
    return _core.zero_count(maps("zero_count", "x", x))


def zero_count_affine(
    x: FloatMaps, scale: NDArray[np.float32], shift: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Count what a per-channel affine followed by ReLU would zero: ``scale * x + shift <= 0``.

    x [n, c, h, w], scale [c], shift [c] -> counts [n, c]. The product is rounded to float32
    before the shift is added, as in torch and numpy. With a frozen batch norm as scale and shift
    this is `zero_count` of its activation, which need not be stored. NaN does not count.

    Raises TypeError for another dtype or memory layout, ValueError for another shape.
    """
    function = "zero_count_affine"
    maps(function, "x", x)
    for name, factors in (("scale", scale), ("shift", shift)):
        float32(function, name, factors)
        if factors.shape != (x.shape[1],):
            raise ValueError(
                f"{function}: {name}: wanted shape ({x.shape[1]},), one for each channel of x, "
                f"got {factors.shape}"
            )
    return _core.zero_count_affine(x, np.ascontiguousarray(scale), np.ascontiguousarray(shift))


def cosine_match(
    student: FloatMaps,
    teachers: Sequence[FloatMaps],
    kept: NDArray[np.int64] | None = None,
    norms: Literal["batch", "image"] = "batch",
) -> Match:
    """Compare a student's map with each candidate teacher's: cosine, norms and J_b.

    student [n, c_s, h, w], teachers k x [n, c_t, h, w], kept [c_s]: the teacher's channel that
    each of the student's is compared with, strictly increasing; None: the first c_s. The paper
    (Sec. 4, Eq. 3 and 4) pads the student with zero channels to c_t. Here the padding is never
    made, since ``cos = <t[:, kept], s> / (|t| |s|)`` and
    ``J_b = |t/|t| - s/|s|| = sqrt(2 - 2 cos)`` give the same values without it.

    norms="batch" takes norms over the whole batch, as the paper does; "image" over each image.
    Sums are in float64: where student and teacher are equal, J_b is exactly 0, and nearby it is
    right to a few 1e-15 / J_b. A zero map has no direction: its cosine is 0, its J_b sqrt(2).

    Raises TypeError for another dtype or memory layout, or if the layouts differ; ValueError for
    shapes that do not fit, a bad `kept`, and NaN or infinity in a map.
    """
    function = "cosine_match"
    if isinstance(teachers, np.ndarray) or not isinstance(teachers, Sequence):
        raise TypeError(
            f"{function}: teachers: wanted a sequence of arrays, got {type(teachers).__name__}"
        )
    if not teachers:
        raise ValueError(f"{function}: teachers: wanted at least one array, got none")
    if norms not in ("batch", "image"):
        raise ValueError(f'{function}: norms: wanted "batch" or "image", got {norms!r}')
    named = [(f"teachers[{i}]", teacher) for i, teacher in enumerate(teachers)]
    kept = pair(function, student, named, kept)
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
    result is reused for a later one once nothing refers to it.

    ``dJ_b/ds = -(t/|t| - cos s/|s|) / (J_b |s|)``, in float64 before it is rounded. It is 0 where
    J_b is 0 (the gradient has no direction there) and for a zero map.

    Raises TypeError and ValueError as `cosine_match` does.
    """
    function = "cosine_match_gradient"
    kept = pair(function, student, [("teacher", teacher)], kept)
    n = student.shape[0]
    numbers = {"cosine": cosine, "teacher_norm": teacher_norm, "student_norm": student_norm}
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in numbers.items()}
    for name, array in arrays.items():
        if array.shape != arrays["cosine"].shape or array.shape not in ((), (n,)):
            raise ValueError(
                f"{function}: {name}: wanted a scalar, or shape ({n},), one for each image, "
                f"and the shape of cosine, got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{function}: {name}: wanted finite numbers, got NaN or infinity")
    if (np.abs(arrays["cosine"]) > 1).any():
        raise ValueError(
            f"{function}: cosine: wanted -1 to 1, got {np.abs(arrays['cosine']).max():g} in size"
        )
    if not math.isfinite(scale):
        raise ValueError(f"{function}: scale: wanted a finite number, got {scale}")
    if arrays["cosine"].ndim:
        scale /= max(n, 1)
    if out is None:
        out = _core.empty_like(student)
    else:
        maps(function, "out", out)
        if out.shape != student.shape or layouts(out).isdisjoint(layouts(student)):
            raise ValueError(
                f"{function}: out: wanted the student's shape {student.shape} and memory layout, "
                f"got {out.shape} with strides {out.strides}"
            )
        if not out.flags.writeable:
            raise ValueError(
                f"{function}: out: wanted an array that can be written to, got a read-only one"
            )
    cosines, teacher_norms, student_norms = (np.atleast_1d(a) for a in arrays.values())
    _core.cosine_match_gradient(
        student, teacher, kept, cosines, teacher_norms, student_norms, scale, out
    )
    return out


def quantise(features: NDArray[np.float32], step: float) -> tuple[NDArray[np.int32], int]:
    """Turn features into whole numbers of steps, and count those that had to be clipped.

    features [n, f], step a power of two -> values [n, f], ``rint(features / step)`` (halves to
    even; the division is exact) clipped to +-LARGEST_VALUE, and how many lay beyond that.

    Raises TypeError for another dtype or gaps in memory; ValueError for another shape, NaN or
    infinity in `features`, and a `step` that is not a power of two from 2^-126 to 2^127.
    """
    function = "quantise"
    table(function, "features", features, np.float32, "n, f")
    if not (2.0**-126 <= step <= 2.0**127) or math.frexp(step)[0] != 0.5:
        raise ValueError(
            f"{function}: step: wanted a power of two from 2^-126 to 2^127, got {step}"
        )
    if features.size == 0:
        return np.zeros(features.shape, np.int32), 0
    # numpy does it in a twentieth of the time of their second moments (500 x 498): a kernel would
    # save little
    ends = np.array([features.min(), features.max()])
    if not np.isfinite(ends).all():
        raise ValueError(f"{function}: features: wanted finite numbers, got NaN or infinity")
    with np.errstate(over="ignore", under="ignore"):  # too many steps are clipped, too few are 0
        ends /= np.float32(step)
        steps = features / np.float32(step)
    np.rint(steps, out=steps)
    clipped = 0
    if (np.abs(np.rint(ends)) > LARGEST_VALUE).any():
        clipped = int(np.count_nonzero(np.abs(steps) > LARGEST_VALUE))
        np.clip(steps, -LARGEST_VALUE, LARGEST_VALUE, out=steps)
    return steps.astype(np.int32), clipped


def add_second_moments(values: NDArray[np.int32], moments: NDArray[np.int64]) -> None:
    """Add the second moments of whole numbers to `moments`, in place and exactly.

    values [n, f], each within +-LARGEST_VALUE (2^20); moments [f (f + 1) / 2], the upper triangle
    row by row: (0, 0) .. (0, f - 1), (1, 1) .. Every ``(i, j)`` grows by the sum over rows of
    ``values[:, i] * values[:, j]``. The result is the same for any order of rows, any split of
    them over calls, any number of threads and every instruction set.

    The totals over all calls must fit in 64 bits, which is not checked: 2^23 - 1 rows of the
    largest values do, and more rows of smaller ones.

    Raises TypeError for another dtype or gaps in memory; ValueError for shapes that do not fit, a
    `moments` that cannot be written to, and values beyond +-LARGEST_VALUE. On error `moments` is
    unchanged.
    """
    function = "add_second_moments"
    table(function, "values", values, np.int32, "n, f")
    table(function, "moments", moments, np.int64, "f (f + 1) / 2")
    f = values.shape[1]
    if moments.shape != (f * (f + 1) // 2,):
        raise ValueError(
            f"{function}: moments: wanted shape ({f * (f + 1) // 2},), the upper triangle of the "
            f"{f} columns of values, got {moments.shape}"
        )
    if not moments.flags.writeable:
        raise ValueError(
            f"{function}: moments: wanted an array that can be written to, got a read-only one"
        )
    if values.size and not (values.min() >= -LARGEST_VALUE and values.max() <= LARGEST_VALUE):
        raise ValueError(
            f"{function}: values: wanted numbers within +-{LARGEST_VALUE}, got {values.min()} to "
            f"{values.max()}"
        )
    _core.add_second_moments(values, moments)
