"""A student as the teacher of another student: which channels of the two correspond.

Two students of one teacher kept different filters of it. Each knows the places of its channels
among that teacher's, so the maps of one can be laid out as their common teacher's would be, with
zeros for missing filters, and the other student finds its channels at the usual places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pyedge.cloud.graph.channel_pad import ChannelPad

# for each group of a student, where its channels stand, and among how many; None for any other
# network
Origin = tuple[tuple[tuple[int, ...], int], ...] | None


class SiblingTeacher(nn.Module):
    """A tapped student whose maps are laid out at the channels of the teacher it was cut from.

    Calling it gives (logits n classes, [[map] for each group]), as a tapped teacher does.
    """

    is_tapped = True

    def __init__(self, tapped: nn.Module, pads: Sequence[ChannelPad]) -> None:
        super().__init__()
        self.tapped = tapped
        self.pads = nn.ModuleList(pads)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
        logits, groups = self.tapped(x)
        pairs = zip(self.pads, groups, strict=True)
        return logits, [[pad(block) for block in blocks] for pad, blocks in pairs]


def origin_of(model: nn.Module) -> Origin:
    """Return which of its teacher's channels a student has."""
    channels = getattr(model, "teacher_channels", None)
    if channels is None or not callable(getattr(model, "kept", None)):
        return None
    return tuple(
        (tuple(model.kept(group).tolist()), count)  # type: ignore[operator]
        for group, count in enumerate(channels)
    )


def facing(tapped: nn.Module, channels: Sequence[int] | None) -> nn.Module:
    """Return the tapped teacher with maps of `channels`, one number for each group.

    That is `tapped` itself, unless it is a student that has lost some of the channels that the
    other student is compared with. A teacher that does not fit at all is returned unchanged: the
    matching of the maps will say so.
    """
    origin = getattr(tapped, "origin", None)
    if origin is None or channels is None or len(channels) != len(origin):
        return tapped
    own = [len(positions) for positions, _ in origin]
    if list(channels) == own or list(channels) != [count for _, count in origin]:
        return tapped
    device = next((p.device for p in tapped.parameters()), torch.device("cpu"))
    pads = [ChannelPad(positions, count).to(device) for positions, count in origin]
    return SiblingTeacher(tapped, pads)
