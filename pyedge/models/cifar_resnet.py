"""The ResNets of He et al. 2016 for CIFAR (Sec. 4.2): depth 6n + 2, shortcuts "option A"."""

from __future__ import annotations

from torch import Tensor, nn

from pyedge.models.basic_block import basic_groups
from pyedge.models.layers import check_positive, conv3x3, global_pool, initialise


class CifarResNet(nn.Module):
    """Stem of one conv, three groups of blocks, average, linear. See `cifar_resnet`."""

    def __init__(
        self, blocks: int, width: int, num_classes: int, in_channels: int, around: bool = False
    ) -> None:
        super().__init__()
        self.stem = conv3x3(in_channels, width)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.groups, c_out = basic_groups((blocks,) * 3, width, False, around)
        self.classifier = nn.Linear(c_out, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.relu(self.bn(self.stem(x))))
        return self.classifier(global_pool(x))


def cifar_resnet(
    depth: int = 20,
    num_classes: int = 10,
    in_channels: int = 3,
    width: int = 16,
    padding: str = "behind",
) -> CifarResNet:
    """Build ResNet-20, 56, 110, ...: [n, in_channels, h, w] -> logits [n, num_classes].

    Groups of `width`, 2 width and 4 width channels; shortcuts take every second pixel and pad
    channels with zeros (option A), so they have no parameters. padding: where those zeros stand,
    "behind" the channels or "around" them, half before, as some published weights want. Raises
    ValueError unless depth = 6 n + 2 and every size is positive.
    """
    check_positive("cifar_resnet", num_classes=num_classes, in_channels=in_channels, width=width)
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"cifar_resnet: depth: wanted 6 n + 2 for n >= 1, got {depth!r}")
    if padding not in ("behind", "around"):
        raise ValueError(f"cifar_resnet: padding: wanted 'behind' or 'around', got {padding!r}")
    return CifarResNet((depth - 2) // 6, width, num_classes, in_channels, padding == "around")
