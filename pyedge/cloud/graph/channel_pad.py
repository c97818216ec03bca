"""ChannelPad: the parameter-free shortcut's change of width, which pruning can follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class ChannelPad(nn.Module):
    """Place input channel i at output channel `position[i]`; the other channels are zero.

    A position of -1 drops the channel. It replaces the zero-padded ("option A") shortcut of
    He et al. 2015 in any of its spellings. Once filters are pruned, the channels that remain are
    no longer the first ones, which a plain pad cannot express. n c_in h w -> n c_out h w.
    """

    position: torch.Tensor

    def __init__(self, position: Sequence[int] | torch.Tensor, out_channels: int) -> None:
        super().__init__()
        position = torch.as_tensor(position, dtype=torch.int64)
        if position.numel() and int(position.max()) >= out_channels:
            raise ValueError(
                f"ChannelPad: position: wanted numbers below out_channels = {out_channels}, got "
                f"{int(position.max())}"
            )
        self.register_buffer("position", position)
        self.out_channels = out_channels
        self._look_at_positions()

    def _look_at_positions(self) -> None:
        # plain numbers, so that a forward on a GPU does not wait for the values of a buffer
        prefix = torch.arange(self.in_channels, device=self.position.device)
        self._is_prefix = bool(torch.equal(self.position, prefix))
        self._drops = bool((self.position < 0).any())

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._look_at_positions()

    @property
    def in_channels(self) -> int:
        return self.position.numel()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._is_prefix:
            return F.pad(x, (0, 0, 0, 0, 0, self.out_channels - self.in_channels))
        position = self.position
        n, c, h, w = x.shape
        if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
            if self._drops:
                x, position = x[:, position >= 0], position[position >= 0]
            return x.new_zeros(n, self.out_channels, h, w).index_copy_(1, position, x)
        # as a matrix of pixels by channels: on a 4-d channels_last tensor the gather in the
        # backward takes 83 ms against 11 (128 x 14 -> 138 x 32 x 32, one core)
        pixels = x.permute(0, 2, 3, 1).reshape(-1, c)
        if self._drops:
            pixels, position = pixels[:, position >= 0], position[position >= 0]
        placed = pixels.new_zeros(len(pixels), self.out_channels).index_copy_(1, position, pixels)
        return placed.view(n, h, w, self.out_channels).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}"

    def remove_inputs(self, channels: Sequence[int]) -> None:
        """Remove input channels."""
        keep = torch.ones(self.in_channels, dtype=torch.bool, device=self.position.device)
        keep[list(channels)] = False
        self.position = self.position[keep]
        self._look_at_positions()

    def remove_outputs(self, channels: Sequence[int]) -> None:
        """Remove output channels; input channels that were placed there are dropped."""
        keep = torch.ones(self.out_channels, dtype=torch.bool, device=self.position.device)
        keep[list(channels)] = False
        renumbered = torch.where(keep, torch.cumsum(keep, 0) - 1, -1)
        placed = renumbered[self.position.clamp(min=0)]
        self.position = torch.where(self.position < 0, self.position, placed)
        self.out_channels = int(keep.sum())
        self._look_at_positions()
