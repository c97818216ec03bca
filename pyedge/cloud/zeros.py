"""Counting zero activations (Eq. 2) as torch operations: C++ kernels on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from pyedge import kernels


def in_kernels(x: Tensor) -> bool:
    """Tell whether the kernels take this tensor without a copy."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last))
    )


def zero_count(x: Tensor) -> Tensor:
    """Count the zeros of each filter's map in each image: [n, c, h, w] to [n, c] int32 (Eq. 2).

    A NaN is not a zero. Raises ValueError if `x` is not four-dimensional.
    """
    _check_map("zero_count", x)
    if x.numel() and in_kernels(x):
        return torch.from_numpy(kernels.zero_count(x.detach().numpy()))
    return (x == 0).sum((2, 3), dtype=torch.int32)


def near_zero_count(x: Tensor, threshold: float) -> Tensor:
    """Count the values of at most `threshold` in size: [n, c, h, w] to [n, c] int32.

    A NaN is not close to zero. Raises ValueError if `x` is not four-dimensional.
    """
    _check_map("near_zero_count", x)
    return (x.abs() <= threshold).sum((2, 3), dtype=torch.int32)


def zero_count_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Count what a ReLU after `scale * x + shift` would zero: [n, c, h, w] to [n, c] int32.

    `scale` and `shift` are [c]. The activation itself is never stored on the CPU. Raises
    ValueError for other shapes.
    """
    _check_map("zero_count_affine", x)
    for name, value in (("scale", scale), ("shift", shift)):
        if value.shape != (x.shape[1],):
            raise ValueError(
                f"zero_count_affine: {name}: wanted [{x.shape[1]}], one for each channel, "
                f"got {list(value.shape)}"
            )
    if x.numel() and in_kernels(x):
        factors = [value.detach().float().numpy() for value in (scale, shift)]
        return torch.from_numpy(kernels.zero_count_affine(x.detach().numpy(), *factors))
    affine = x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]
    return (affine <= 0).sum((2, 3), dtype=torch.int32)


def _check_map(name: str, x: Tensor) -> None:
    if x.dim() != 4:
        raise ValueError(f"{name}: x: wanted [n, c, h, w], got {tuple(x.shape)}")
