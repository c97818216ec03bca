"""ChannelPad: the parameter-free shortcut's change of width, which pruning can follow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ChannelPad(nn.Module):
    """Place input channel i at output channel `position[i]`; the other channels are zero.

    A position of -1 drops the channel. It stands for the zero-padded ("option A") shortcut of
    He et al. 2015 in any of its spellings. Once filters are pruned, the channels that remain are
    no longer the first ones, which a plain pad cannot say. n c_in h w -> n c_out h w.
    """

    position: torch.Tensor

    def __init__(self, position: Sequence[int] | torch.Tensor, out_channels: int) -> None:
        super().__init__()
        position = torch.as_tensor(position, dtype=torch.int64)
        if position.numel() and int(position.max()) >= out_channels:
            raise ValueError(
                f"ChannelPad: position must lie below out_channels = {out_channels}, "
                f"got {int(position.max())}"
            )
        self.register_buffer("position", position)
        self.out_channels = out_channels

    @property
    def in_channels(self) -> int:
        return self.position.numel()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # inverse of `position`, with one more, all-zero source channel for what nothing feeds;
        # a gather keeps the memory format and has a cheap backward
        padded = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, 1))
        return padded.index_select(1, self._source())

    def _source(self) -> torch.Tensor:
        source = torch.full(
            (self.out_channels + 1,),
            self.in_channels,
            dtype=torch.int64,
            device=self.position.device,
        )
        # dropped channels (-1) write the spare last entry, which is cut off
        source[self.position] = torch.arange(self.in_channels, device=self.position.device)
        return source[: self.out_channels]

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}"

    def remove_inputs(self, channels: Sequence[int]) -> None:
        """Remove input channels."""
        keep = torch.ones(self.in_channels, dtype=torch.bool, device=self.position.device)
        keep[list(channels)] = False
        self.position = self.position[keep]

    def remove_outputs(self, channels: Sequence[int]) -> None:
        """Remove output channels; input channels that were placed there are dropped."""
        keep = torch.ones(self.out_channels, dtype=torch.bool, device=self.position.device)
        keep[list(channels)] = False
        renumbered = torch.where(keep, torch.cumsum(keep, 0) - 1, -1)
        placed = renumbered[self.position.clamp(min=0)]
        self.position = torch.where(self.position < 0, self.position, placed)
        self.out_channels = int(keep.sum())
