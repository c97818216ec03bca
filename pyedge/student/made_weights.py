"""Weights made from a seed, so that files need not hold them: the same bits on every machine."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MOST = 1 << 24  # numbers in one array: a file that asks for more is damaged, or means no good


def made_weight(seed: int, outputs: int, inputs: int) -> NDArray[np.float32]:
    """Return a projection, float32 [outputs, inputs]: each input, its negative, and random rows.

    A ReLU after the first 2 * inputs rows loses nothing of the inputs. Raises ValueError for fewer
    outputs than that.
    """
    if outputs < 2 * inputs:
        raise ValueError(f"made_weight: outputs: wanted at least {2 * inputs}, got {outputs}")
    own = np.eye(inputs, dtype=np.float32)
    return np.concatenate([own, -own, _random_rows(seed, outputs - 2 * inputs, inputs)])


def _random_rows(seed: int, outputs: int, inputs: int) -> NDArray[np.float32]:
    """Return random rows, each of length 1 on average.

    Each number is the sum of four uniform 16-bit numbers, which is nearly normal. It comes from the
    raw bits of PCG64, whose stream numpy promises to keep (NEP 19), and is computed in whole
    numbers until the last multiplication.
    """
    raw = np.random.PCG64(seed).random_raw(outputs * inputs)
    total = np.zeros(len(raw), dtype=np.int64)
    for part in range(4):
        total += ((raw >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.int64)
    deviation = math.sqrt(4 * ((1 << 16) ** 2 - 1) / 12)
    scale = 1 / (deviation * math.sqrt(inputs))
    return ((total - 2 * 0xFFFF) * scale).astype(np.float32).reshape(outputs, inputs)
