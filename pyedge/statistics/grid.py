"""The grid of whole numbers on which features are summed.

Sums of floating-point numbers depend on their order. So a feature is rounded to a multiple of a
step, a power of two, and everything after that is whole numbers: sums of first and second moments
do not depend on the order, the split, the device or its threads, and what was added can be taken
out again to the last bit. With 20 bits, and room for features 16 times as large as the largest one
seen when the step was chosen, the error is 2^-17 of that largest one, far below that of float32
convolutions.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge import kernels

LARGEST = kernels.LARGEST_VALUE  # magnitude of a value on the grid
MOST_IMAGES = 1 << 22  # whose second moments, 2^40 each at most, an int64 can hold
_ROOM = 16.0  # times the largest feature seen
_LEAST_EXPONENT, _MOST_EXPONENT = -120, 100  # of a step: a feature is a float32

Values = NDArray[np.int32]
Sums = NDArray[np.int64]


class Rounded(NamedTuple):
    """Features on the grid, int32 [n, f], and how many were too large for it."""

    values: Values
    clipped: int


def step_for(features: NDArray[np.float32]) -> float:
    """Choose the step for features like these, float32 [n, f]."""
    largest = float(np.abs(features).max(initial=0.0))
    if largest == 0:
        return 2.0**-20
    exponent = math.ceil(math.log2(largest * _ROOM / LARGEST))
    return 2.0 ** min(max(exponent, _LEAST_EXPONENT), _MOST_EXPONENT)


def good_step(step: Any) -> bool:
    """Tell whether `step_for` could have chosen this step."""
    if not isinstance(step, float) or not 0 < step < math.inf:
        return False
    mantissa, exponent = math.frexp(step)
    return mantissa == 0.5 and _LEAST_EXPONENT <= exponent - 1 <= _MOST_EXPONENT


def rounded(features: NDArray[np.float32], step: float) -> Rounded:
    """Round features to the grid; ValueError for NaN and infinity."""
    return Rounded(*kernels.quantise(np.ascontiguousarray(features), step))


def packed_size(features: int) -> int:
    """Return how many numbers are in the upper triangle of a square matrix, with its diagonal."""
    return features * (features + 1) // 2


def diagonal(features: int) -> NDArray[np.int64]:
    """Return the places of the diagonal in a packed triangle, int64 [f]."""
    i = np.arange(features, dtype=np.int64)
    return i * features - i * (i - 1) // 2


@lru_cache(maxsize=4)
def _upper(features: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(features)


def second_moments(values: Values) -> Sums:
    """Return the sum of v v^T over rows v, the upper triangle row by row, int64 [f (f + 1) / 2]."""
    total = np.zeros(packed_size(values.shape[1]), dtype=np.int64)
    kernels.add_second_moments(np.ascontiguousarray(values), total)
    return total


def square(packed: NDArray[Any], features: int) -> NDArray[np.float64]:
    """Return the symmetric matrix of a packed triangle, float64 [f, f]."""
    whole = np.zeros((features, features))
    whole[_upper(features)] = packed
    upper = np.triu(whole, 1)
    return whole + upper.T
