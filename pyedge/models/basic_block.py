"""The basic block of He et al. 2016 and groups of it, shared by both kinds of ResNet."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pyedge.models.layers import PadShortcut, conv3x3


class BasicBlock(nn.Module):
    """Conv, BN, ReLU, conv, BN, added to the block's input, ReLU.

    If the shape changes, the input goes through a projection (1x1 conv and BN) or, with
    `projection=False`, through the parameter-free "option A"; see PadShortcut for `around`.
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, projection: bool, around: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(c_in, c_out, stride)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(c_out, c_out)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module | None = None
        if c_in != c_out or stride != 1:
            self.shortcut = (
                nn.Sequential(
                    nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False), nn.BatchNorm2d(c_out)
                )
                if projection
                else PadShortcut(c_in, c_out, stride, pool=False, around=around)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return self.relu2(x + y)


def basic_groups(
    blocks: Sequence[int], width: int, projection: bool, around: bool = False
) -> tuple[nn.Sequential, int]:
    """Make groups of `width`, 2 width, 4 width ... channels; return them and the last width.

    blocks: how many each group has. Every group but the first halves the resolution.
    """
    groups, c_in, c_out = [], width, width
    for g, count in enumerate(blocks):
        c_out = width * 2**g
        group = [BasicBlock(c_in, c_out, 1 if g == 0 else 2, projection, around)]
        group += [BasicBlock(c_out, c_out, 1, projection, around) for _ in range(count - 1)]
        groups.append(nn.Sequential(*group))
        c_in = c_out
    return nn.Sequential(*groups), c_out
