"""Features of made-up classes and their statistics, for tests: numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyedge.statistics.grid import rounded, step_for
from pyedge.statistics.sums import HELD, Statistics, of_values

DIGEST = "0" * 64
NAMES = ("ant", "bee", "cat", "dog")


def clouds(
    count: int = 60, features: int = 7, classes: int = 4, seed: int = 0, apart: float = 1.5
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features float32 [classes * count, features] of overlapping classes, and labels."""
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((features, features))
    means = apart * random.standard_normal((classes, features))
    labels = np.repeat(np.arange(classes), count)
    noise = random.standard_normal((len(labels), features)) @ mixing
    return (means[labels] + noise).astype(np.float32), labels


def sums_of(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    pooled: bool = True,
    step: float | None = None,
    held: int = HELD,
) -> Statistics:
    """Statistics of features, on the grid that the features ask for."""
    step = step_for(features) if step is None else step
    values = rounded(features, step).values
    return of_values(values, labels, NAMES, digest=DIGEST, step=step, pooled=pooled, held=held)


def same(a: Statistics, b: Statistics) -> bool:
    """Tell whether two statistics are the same to the last bit."""
    arrays = b.arrays()
    return (a.digest, a.step, a.classes) == (b.digest, b.step, b.classes) and all(
        np.array_equal(array, arrays[name]) for name, array in a.arrays().items()
    )
