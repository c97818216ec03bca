"""Checks of the arrays that the kernels are given, with readable errors. Needs only numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatMaps = NDArray[np.float32]


def float32(function: str, name: str, x: Any) -> None:
    """Check that `x` is a float32 array of any shape."""
    _of_dtype(function, name, x, np.float32)


def table(function: str, name: str, x: Any, dtype: type, axes: str) -> None:
    """Check that `x` is an array of this dtype and number of axes, without gaps in its memory."""
    _of_dtype(function, name, x, dtype)
    if x.ndim != axes.count(",") + 1:
        raise ValueError(f"{function}: {name}: wanted shape [{axes}], got {x.shape}")
    if not x.flags.aligned or not x.flags.c_contiguous:
        raise TypeError(
            f"{function}: {name}: wanted C-contiguous, got shape {x.shape} with strides {x.strides}"
        )


def _of_dtype(function: str, name: str, x: Any, dtype: type) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{function}: {name}: wanted a numpy array, got {type(x).__name__}")
    if x.dtype != dtype:
        raise TypeError(f"{function}: {name}: wanted {np.dtype(dtype)}, got {x.dtype}")


def layouts(x: FloatMaps) -> set[str]:
    """Tell which of the two memory layouts `x` has: both if c or h * w is 1."""
    found = {"NCHW"} if x.flags.c_contiguous else set()
    return found | ({"channels-last"} if x.transpose(0, 2, 3, 1).flags.c_contiguous else set())


def maps(function: str, name: str, x: Any) -> FloatMaps:
    """Check that `x` holds feature maps that C++ can read without a copy."""
    float32(function, name, x)
    if x.ndim != 4:
        raise ValueError(f"{function}: {name}: wanted shape [n, c, h, w], got {x.shape}")
    if not x.flags.aligned or not layouts(x):
        raise TypeError(
            f"{function}: {name}: wanted NCHW (C-contiguous) or channels-last memory, got shape "
            f"{x.shape} with strides {x.strides}; np.ascontiguousarray makes it NCHW"
        )
    return x


def pair(
    function: str,
    student: FloatMaps,
    teachers: Sequence[tuple[str, FloatMaps]],
    kept: NDArray[np.int64] | None,
) -> NDArray[np.int64] | None:
    """Check a student against its teachers; return `kept`, contiguous."""
    common = layouts(maps(function, "student", student))
    n, c, h, w = student.shape
    width = None
    for name, teacher in teachers:
        maps(function, name, teacher)
        if width is None:
            width = teacher.shape[1]
        if teacher.shape != (n, width, h, w):
            raise ValueError(
                f"{function}: {name}: wanted shape {(n, width, h, w)}, to match a student of shape "
                f"{student.shape}, got {teacher.shape}"
            )
        common &= layouts(teacher)
        if not common:
            raise TypeError(
                f"{function}: {name}: wanted the memory layout of the student and the other "
                f"teachers (NCHW or channels-last), got another"
            )
    assert width is not None
    if c > width:
        raise ValueError(
            f"{function}: student: wanted at most the teachers' {width} channels, got {c}"
        )
    if kept is None:
        return None
    if not isinstance(kept, np.ndarray) or kept.dtype != np.int64:
        came = kept.dtype if isinstance(kept, np.ndarray) else type(kept).__name__
        raise TypeError(f"{function}: kept: wanted an int64 array or None, got {came}")
    if kept.shape != (c,):
        raise ValueError(
            f"{function}: kept: wanted shape ({c},), one for each channel of the student, "
            f"got {kept.shape}"
        )
    if c and (kept[0] < 0 or kept[-1] >= width or (np.diff(kept) <= 0).any()):
        raise ValueError(
            f"{function}: kept: wanted strictly rising channels of the teacher, in [0, {width}), "
            f"got {kept.tolist()!r:.80}"
        )
    return np.ascontiguousarray(kept)
