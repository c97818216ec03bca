"""Which images of a class a memory keeps, the most important first."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from pyedge.images.digests import Digests

Rows = NDArray[np.int64]


def herded(features: NDArray[np.float32], weights: NDArray[np.float64], count: int) -> Rows:
    """Choose up to `count` images whose mean stays near the mean of all, int64 [count].

    Herding as in iCaRL (Rebuffi et al. 2017, Alg. 4): features [n, f] and their mean are scaled to
    length 1, and images are chosen one at a time, each so that the mean of those chosen so far
    comes nearest to it. The first few of a choice are therefore the choice for that number.
    weights [n]: how many images each stands for in the mean. Sums are in float64, ties go to the
    first.
    """
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    unit = features / np.maximum(lengths, np.finfo(np.float64).tiny)
    mean = weights @ unit
    mean /= max(float(np.linalg.norm(mean)), np.finfo(np.float64).tiny)
    total = np.zeros(unit.shape[1])
    left = np.ones(len(unit), np.bool_)
    chosen: list[int] = []
    for k in range(1, min(count, len(unit)) + 1):
        distances = np.square(mean - (total + unit) / k).sum(axis=1)
        distances[~left] = np.inf
        best = int(distances.argmin())
        chosen.append(best)
        left[best] = False
        total += unit[best]
    return np.array(chosen, dtype=np.int64)


def drawn(digests: Digests, seed: int, count: int) -> Rows:
    """Choose up to `count` images at random, int64 [count].

    Seed and digest give each image a number, and the smallest are chosen. So the choice does not
    depend on the order of the images or on how they are divided over calls.
    """
    key = seed.to_bytes(8, "little")
    numbers = [
        hashlib.blake2b(each.tobytes(), key=key, digest_size=16).digest() for each in digests
    ]
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    return np.array(order[:count], dtype=np.int64)
