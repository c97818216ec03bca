"""A teacher's map as a pack stores it: the student's channels, in 16 or 8 bits, with its norm."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Maps whose largest value lies in [2^-4, 2^15) go to float16 as they are: below its largest number,
# 65504, and with values down to 2^-10 of the largest above its subnormals, which lose digits.
_FLOAT16_EXPONENTS = (-4, 14)
_LEAST_EXPONENT = -126  # of a normal float32
_LARGEST_INT8 = 127
_RUN_ELEMENTS = 1 << 22  # float64 copies are made of this many at a time


class StoredMap(NamedTuple):
    """values [n, h, w, c_s] float16 or int8; times scales [n] they are nearly the map.

    squares [n]: the squared norm of the whole map, all channels, in float64.
    """

    values: NDArray[np.float16] | NDArray[np.int8]
    scales: NDArray[np.float32]
    squares: NDArray[np.float64]


def store_map(teacher_map: Tensor, kept: Tensor, dtype: str) -> StoredMap:
    """Cut a map [n, c, h, w] to the channels `kept` [c_s], and round it.

    "float16": a map that would overflow, or lose digits, is first divided by a power of two, which
    costs no digits. "int8": values lie in -127..127, with one scale for each image. A map of zeros
    has scale 1.
    """
    squares = squared_norms(teacher_map)
    part = teacher_map.index_select(1, kept).permute(0, 2, 3, 1).float().contiguous()
    peak = part.abs().amax((1, 2, 3))
    if dtype == "float16":
        scale = _power_of_two(peak)
        values = (part / scale[:, None, None, None]).to(torch.float16)
    else:
        # not below the least normal number: a GPU or a phone may take subnormals for zero
        scale = (peak / _LARGEST_INT8).clamp(min=2.0**_LEAST_EXPONENT)
        scale = torch.where(peak == 0, torch.ones_like(scale), scale)
        values = (part / scale[:, None, None, None]).round().clamp(-127, 127).to(torch.int8)
    return StoredMap(values.cpu().numpy(), scale.cpu().numpy(), squares.cpu().numpy())


def _power_of_two(peak: Tensor) -> Tensor:
    low, high = _FLOAT16_EXPONENTS
    exponent = torch.frexp(peak).exponent - 1  # peak = m 2^exponent, 1 <= m < 2
    fits = ((exponent >= low) & (exponent <= high)) | (peak == 0)
    exponent = torch.where(fits, 0, exponent.clamp(min=_LEAST_EXPONENT))
    return torch.ldexp(torch.ones_like(peak), exponent)


def squared_norms(maps: Tensor) -> Tensor:
    """Return the squared norm of each of [n, ...], float64 [n]."""
    n = len(maps)
    result = torch.empty(n, dtype=torch.float64, device=maps.device)
    length = max(1, _RUN_ELEMENTS // max(1, maps[:1].numel()))
    for start in range(0, n, length):
        run = maps[start : start + length].flatten(1).double()
        result[start : start + length] = torch.einsum("ij,ij->i", run, run)
    return result
