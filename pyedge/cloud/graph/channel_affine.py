"""ChannelAffine: a scale and a shift for every channel, which pruning can follow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ChannelAffine(nn.Module):
    """x * weight + bias, channel by channel: what a frozen batch norm computes.

    A tensor given as an nn.Parameter learns, any other is a buffer. n c h w -> n c h w.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        if weight.numel() != bias.numel():
            raise ValueError(
                f"ChannelAffine: weight has {weight.numel()} entries and bias {bias.numel()}, "
                "wanted one each for every channel"
            )
        for name, tensor in (("weight", weight), ("bias", bias)):
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    @property
    def channels(self) -> int:
        return self.weight.numel()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)

    def extra_repr(self) -> str:
        return f"{self.channels}"

    def remove(self, channels: Sequence[int]) -> None:
        """Remove channels."""
        keep = torch.ones(self.channels, dtype=torch.bool, device=self.weight.device)
        keep[list(channels)] = False
        for name in ("weight", "bias"):
            tensor = getattr(self, name)
            rest = tensor.detach().flatten()[keep]
            learned = isinstance(tensor, nn.Parameter)
            setattr(self, name, nn.Parameter(rest) if learned else rest)
