"""The ResNets of He et al. 2016 for CIFAR (Sec. 4.2): depth 6n + 2, shortcuts "option A"."""

from __future__ import annotations

from torch import Tensor, nn

from pyedge.models.layers import PadShortcut, check_positive, conv3x3, global_pool, initialise


class CifarBlock(nn.Module):
    """Conv, BN, ReLU, conv, BN, added to the block's input, ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(c_in, c_out, stride)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(c_out, c_out)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu2 = nn.ReLU()
        changes = c_in != c_out or stride != 1
        self.shortcut = PadShortcut(c_in, c_out, stride, pool=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return self.relu2(x + y)


class CifarResNet(nn.Module):
    """Stem of one conv, three groups of blocks, average, linear. See `cifar_resnet`."""

    def __init__(self, blocks: int, width: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = conv3x3(in_channels, width)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        groups, c_in = [], width
        for g in range(3):
            c_out = width * 2**g
            group = [CifarBlock(c_in, c_out, 1 if g == 0 else 2)]
            group += [CifarBlock(c_out, c_out, 1) for _ in range(blocks - 1)]
            groups.append(nn.Sequential(*group))
            c_in = c_out
        self.groups = nn.Sequential(*groups)
        self.classifier = nn.Linear(c_in, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.relu(self.bn(self.stem(x))))
        return self.classifier(global_pool(x))


def cifar_resnet(
    depth: int = 20, num_classes: int = 10, in_channels: int = 3, width: int = 16
) -> CifarResNet:
    """Build ResNet-20, 56, 110, ...: [n, in_channels, h, w] -> logits [n, num_classes].

    Groups of `width`, 2 width and 4 width channels; shortcuts take every second pixel and pad
    channels with zeros (option A), so they have no parameters. Raises ValueError unless
    depth = 6 n + 2 and every size is positive.
    """
    check_positive("cifar_resnet", num_classes=num_classes, in_channels=in_channels, width=width)
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"cifar_resnet: depth must be 6 n + 2 for n >= 1, got {depth!r}")
    return CifarResNet((depth - 2) // 6, width, num_classes, in_channels)
