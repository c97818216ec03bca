"""Uniform quantization in buckets (Polino et al. 2018, "Model compression via distillation and
quantization"): post mortem, and while a student is distilled.

A vector v is cut into buckets of so many values, each scaled to 0..1 by its own minimum and range,
sc(v) = (v - beta) / alpha; Q(v) = alpha * round(sc(v) * s) / s + beta with s = 2^bits - 1 (their
Sec. 3). Quantized distillation (Algorithm 1) computes with quantized weights and adds the gradient
to the full ones; the last layer of biases and batch norms stays in 32 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

BUCKET = 256  # theirs


def quantized(values: Tensor, bits: int, bucket: int = BUCKET) -> Tensor:
    """Round values of any shape to 2^bits levels between the minimum and maximum of each bucket.

    Raises ValueError for bits outside 1..16 or a bucket below 1.
    """
    if not 1 <= bits <= 16 or bucket < 1:
        raise ValueError(
            f"quantized: bits, bucket: wanted 1 to 16 and at least 1, got {bits}, {bucket}"
        )
    flat = values.flatten()
    rest = -len(flat) % bucket
    # the last bucket is filled up by its own last value, which changes neither bound
    rows = torch.cat([flat, flat[-1:].expand(rest)]).view(-1, bucket)
    low = rows.min(1, keepdim=True).values
    alpha = rows.max(1, keepdim=True).values - low
    levels = 2**bits - 1
    scaled = (rows - low) / torch.where(alpha > 0, alpha, torch.ones_like(alpha))
    found = alpha * (scaled * levels).round() / levels + low
    return found.flatten()[: len(flat)].view_as(values)


def quantized_bytes(model: nn.Module, bits: int, bucket: int = BUCKET) -> int:
    """Return the bytes of a quantized network: its codes, two floats a bucket, the rest as float32.

    The codes are counted without entropy coding.
    """
    weights = dict(_weights(model))
    total = 0
    for name, parameter in model.named_parameters():
        n = parameter.numel()
        if name in weights:
            total += math.ceil(n * bits / 8) + 8 * math.ceil(n / bucket)
        else:
            total += 4 * n
    return total


@torch.no_grad()
def quantize_post_mortem(model: nn.Module, bits: int, bucket: int = BUCKET) -> nn.Module:
    """Quantize the weights of all convolutions and linear layers in place, after training."""
    for _, weight in _weights(model):
        weight.copy_(quantized(weight, bits, bucket))
    return model


class StraightThrough(nn.Module):
    """A weight as it is computed with: quantized forward, the gradient passed to the full one."""

    def __init__(self, bits: int, bucket: int = BUCKET) -> None:
        super().__init__()
        self.bits, self.bucket = bits, bucket

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (quantized(weight.detach(), self.bits, self.bucket) - weight).detach()


def begin_quantized(model: nn.Module, bits: int, bucket: int = BUCKET) -> None:
    """Let every convolution and linear layer compute with quantized weights, in place."""
    for module in _layers(model):
        parametrize.register_parametrization(module, "weight", StraightThrough(bits, bucket))


def end_quantized(model: nn.Module) -> None:
    """Make the quantized weights the layers' own, in place."""
    for module in _layers(model):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _layers(model: nn.Module) -> list[Any]:
    return [each for each in model.modules() if isinstance(each, (nn.Conv2d, nn.Linear))]


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            yield f"{name}.weight", module.weight
