"""A class in a few bytes: its mean on a finer grid, and its spread in a few directions.

What is read back is the same whole numbers on every machine: it takes only products and sums, in
int64 or exact in float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.statistics.grid import MOST_IMAGES, Sums, Values, packed_size

MOST_SHIFT = MOST_IMAGES.bit_length() - 1  # with which the sums of any number of images are exact
MOST_EXPONENT = 24
_LARGEST_FACTOR = (1 << 15) - 1


class Mean(NamedTuple):
    """A mean in multiples of 2^-shift steps of the grid, int32 [f]."""

    values: NDArray[np.int32]
    shift: int


class Spread(NamedTuple):
    """A scatter matrix: 4^exponent factors^T factors + rest * identity, in squares of the step.

    factors int16 [r, f]: eigenvectors times the roots of how much each exceeds the rest.
    """

    factors: NDArray[np.int16]
    exponent: int
    rest: int


def mean_of(sums: Sums, count: int) -> Mean:
    """Return the mean of a class, as fine as int32 can hold it.

    `sums_of` gives the exact sums back if there are fewer images than 2^shift.
    """
    largest = int(np.abs(sums).max(initial=0)) // count + 1
    shift = min(max(31 - largest.bit_length(), 0), MOST_SHIFT)
    scaled = (2 * (sums << shift) + count) // (2 * count)
    return Mean(scaled.astype(np.int32), shift)


def sums_of(mean: Mean, count: int) -> Sums:
    """Return the sums of a class, int64 [f]."""
    half = (1 << mean.shift) >> 1
    return (mean.values.astype(np.int64) * count + half) >> mean.shift


def spread_of(values: Values, rank: int) -> Spread:
    """Describe how values int32 [n, f] spread around their mean, in at most `rank` directions."""
    n, features = values.shape
    away = values.astype(np.float64)
    away -= away.mean(axis=0)
    if n <= features:
        _, roots, vectors = np.linalg.svd(away, full_matrices=False)
        sizes = roots**2
    else:
        sizes, columns = np.linalg.eigh(away.T @ away)
        sizes, vectors = sizes[::-1], columns.T[::-1]
    rank = min(rank, len(sizes))
    rest = max(float(sizes[rank:].sum()), 0.0) / max(features - rank, 1)
    factors = np.sqrt(np.maximum(sizes[:rank] - rest, 0))[:, None] * vectors[:rank]
    largest = float(np.abs(factors).max(initial=0))
    exponent = max(math.ceil(math.log2(max(largest / _LARGEST_FACTOR, 1.0))), 0)
    whole = np.rint(factors / 2.0**exponent).astype(np.int16)
    return Spread(whole[np.any(whole != 0, axis=1)], exponent, round(rest))


def moments_of(sums: Sums, count: int, spread: Spread) -> Sums:
    """Return second moments with these sums and this spread, int64 [f (f + 1) / 2].

    sums sums^T / count is rounded down, by less than 1; the diagonal gets back as much as that can
    take from a variance, so that no variance is negative. ValueError if int64 has no room.
    """
    features = len(sums)
    factors = spread.factors.astype(np.float64)
    scale = 4.0**spread.exponent
    size = count * (np.abs(sums / count) + 1) ** 2 + scale * (factors**2).sum(axis=0) + spread.rest
    if float(size.max()) + features > 2.0**62:
        raise ValueError("second moments are larger than so many images can have")
    whole, left = np.divmod(sums, count)
    inexact = left > 0
    given = np.where(inexact, int(inexact.sum()), 0)
    found = np.empty(packed_size(features), dtype=np.int64)
    start = 0
    for i in range(features):
        row = found[start : start + features - i]
        # sums = count * whole + left; at most 2^15 factors of 2^30: exact in float64
        row[:] = (factors[:, i] @ factors[:, i:]).astype(np.int64) << (2 * spread.exponent)
        row += count * whole[i] * whole[i:] + whole[i] * left[i:] + left[i] * whole[i:]
        row += left[i] * left[i:] // count
        row[0] += spread.rest + given[i]
        start += len(row)
    return found
