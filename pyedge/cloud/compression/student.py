"""Student: the compressed network, with the outputs of its blocks within reach."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx, nn


class Student(nn.Module):
    """A shallow, thin network made by `pyedge.compress`.

    Calling it gives what the teacher's forward gives (logits, n classes). `last_convs` are the
    names of the last convolution of each group, and `classifier` that of the linear layer: these
    layers learn on the device (Sec. 4.1). The state_dict is complete: it also holds the place of
    each channel among the teacher's, so it loads into any student of the same widths. A student may
    be cut again, or teach a smaller one.
    """

    inside = "net"  # where its network lies: a student cut out of it takes over names from there on

    def __init__(
        self,
        net: fx.GraphModule,
        kept: Sequence[torch.Tensor],
        last_convs: Sequence[str],
        classifier: str,
        teacher_channels: Sequence[int],
    ) -> None:
        """net returns (output, logits, tap of group 0, tap of group 1, ...).

        teacher_channels: for each group, how many channels the teacher's blocks have.
        """
        super().__init__()
        self.net = net
        self.groups = len(kept)
        for group, positions in enumerate(kept):
            self.register_buffer(f"kept_{group}", positions.to(torch.int64))
        self.last_convs = tuple(f"net.{name}" for name in last_convs)
        self.classifier = f"net.{classifier}"
        self.teacher_channels = tuple(teacher_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[0]

    def forward_taps(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the logits and, for each group, the output of its block, n c h w.

        The logits are what calling it gives, or the input of a softmax or log-softmax at its end.
        """
        _, logits, *taps = self.net(x)
        return logits, taps

    def kept(self, group: int) -> torch.Tensor:
        """Positions of the group's channels among the teacher's, increasing, int64 [c]."""
        return self.get_buffer(f"kept_{group}")

    @property
    def widths(self) -> dict[str, int]:
        """Filters of every convolution, by module name."""
        return {
            name.removeprefix("net."): module.out_channels
            for name, module in self.named_modules()
            if isinstance(module, nn.Conv2d)
        }

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())
