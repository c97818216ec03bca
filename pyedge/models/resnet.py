"""ResNet-18 and ResNet-34 of He et al. 2016 (Sec. 4.1), the paper's teacher on ImageNet."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pyedge.models.basic_block import basic_groups
from pyedge.models.layers import check_positive, conv3x3, global_pool, initialise


class ResNet(nn.Module):
    """Stem (7x7 and max pool, or one 3x3), four groups of basic blocks, average, linear."""

    def __init__(
        self,
        blocks: Sequence[int],
        num_classes: int,
        in_channels: int,
        small_input: bool,
        width: int,
    ) -> None:
        super().__init__()
        self.stem: nn.Module
        if small_input:
            self.stem = conv3x3(in_channels, width)
        else:
            self.stem = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = None if small_input else nn.MaxPool2d(3, stride=2, padding=1)
        self.groups, c_out = basic_groups(blocks, width, projection=True)
        self.classifier = nn.Linear(c_out, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.stem(x)))
        if self.pool is not None:
            x = self.pool(x)
        return self.classifier(global_pool(self.groups(x)))


def _resnet(
    name: str,
    blocks: Sequence[int],
    num_classes: int,
    in_channels: int,
    small_input: bool,
    width: int,
) -> ResNet:
    check_positive(name, num_classes=num_classes, in_channels=in_channels, width=width)
    return ResNet(blocks, num_classes, in_channels, small_input, width)


def resnet18(
    num_classes: int = 1000, in_channels: int = 3, small_input: bool = False, width: int = 64
) -> ResNet:
    """Build ResNet-18: [n, in_channels, h, w] -> logits [n, num_classes].

    `small_input=True` replaces the 7x7 stride-2 stem and the max pool by one 3x3 conv, for images
    of 32 to 64 pixels. Groups have `width` * (1, 2, 4, 8) channels. 11,689,512 parameters with
    1000 classes. Raises ValueError for sizes below 1.
    """
    return _resnet("resnet18", (2, 2, 2, 2), num_classes, in_channels, small_input, width)


def resnet34(
    num_classes: int = 1000, in_channels: int = 3, small_input: bool = False, width: int = 64
) -> ResNet:
    """Build ResNet-34, as `resnet18` with 3, 4, 6, 3 blocks; 21,797,672 parameters."""
    return _resnet("resnet34", (3, 4, 6, 3), num_classes, in_channels, small_input, width)
