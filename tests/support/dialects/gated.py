"""Squeeze-and-excitation in its spellings: SENet, MobileNetV3, EfficientNet, RegNetY."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dialect import Dialect, family, refused

Activation = Callable[[Tensor], Tensor]


class LinearGate(nn.Module):
    """SENet's: two linear layers, a view and an expand."""

    def __init__(self, channels: int):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 2, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 2, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class IndexGate(LinearGate):
    """The same with an index for a view, and no modules for what has no weights."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        y = torch.sigmoid(self.fc[2](F.relu(self.fc[0](y))))
        return y[:, :, None, None] * x


class ExpandedGate(LinearGate):
    """The same with sizes spelled out."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        y = y.unsqueeze(-1).unsqueeze(-1).expand(-1, -1, x.size(2), x.size(3))
        return torch.mul(x, y)


class ConvGate(nn.Module):
    """torchvision's: 1x1 convolutions, `scale * input`."""

    def __init__(self, channels: int, scale: Activation = torch.sigmoid, act: object = nn.ReLU):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, max(2, channels // 4), 1)
        self.fc2 = nn.Conv2d(max(2, channels // 4), channels, 1)
        self.activation, self.scale_activation = act(), scale

    def forward(self, input: Tensor) -> Tensor:
        scale = self.fc2(self.activation(self.fc1(self.avgpool(input))))
        return self.scale_activation(scale) * input


def hard_sigmoid(x: Tensor) -> Tensor:
    return F.relu6(x + 3.0) / 6.0


class HardGate(ConvGate):
    """MobileNetV3's, multiplied in place."""

    def __init__(self, channels: int):
        super().__init__(channels, hard_sigmoid)

    def forward(self, input: Tensor) -> Tensor:
        scale = self.fc2(self.activation(self.fc1(input.mean((2, 3), keepdim=True))))
        return input.mul_(self.scale_activation(scale))


class SpatialGate(nn.Module):
    """A factor for each place instead of each channel, as in CBAM."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class GateBlock(nn.Module):
    """A residual block of two convolutions, gated before the sum."""

    def __init__(self, c_in: int, c_out: int, stride: int, gate: Callable[[int], nn.Module]):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.se = gate(c_out)
        self.down = nn.Identity()
        if stride > 1:
            self.down = nn.Conv2d(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.se(self.bn2(self.conv2(out)))
        return F.relu(out + self.down(x))


class GatedResNet(nn.Module):
    def __init__(self, blocks: tuple[int, ...], gate: Callable[[int], nn.Module]):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        layers, c_in = [], 8
        for n, width in zip(blocks, (8, 12), strict=True):
            stage = []
            for place in range(n):
                stage.append(GateBlock(c_in, width, 1 if place or width == 8 else 2, gate))
                c_in = width
            layers.append(nn.Sequential(*stage))
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(c_in, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(F.relu(self.stem(x))).mean((2, 3)))


class GatedChain(nn.Module):
    """No shortcuts: convolution, norm, ReLU, gate."""

    def __init__(self, blocks: tuple[int, ...]):
        super().__init__()
        layers, c_in = [], 3
        for n, width in zip(blocks, (8, 12), strict=True):
            for _ in range(n):
                conv = nn.Conv2d(c_in, width, 3, padding=1)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU(), LinearGate(width)]
                c_in = width
            layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(c_in, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(x).mean((2, 3)))


class RegNetBlock(nn.Module):
    """1x1, 3x3 in groups, gate, 1x1 around a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
        conv = nn.Conv2d(c_out, c_out, 3, stride, 1, groups=c_out // 4, bias=False)
        self.b = nn.Sequential(conv, nn.BatchNorm2d(c_out))
        self.se = ConvGate(c_out)
        self.c = nn.Sequential(nn.Conv2d(c_out, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
        self.proj = None
        if stride > 1 or c_in != c_out:
            proj = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.proj = nn.Sequential(proj, nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.c(self.se(F.relu(self.b(F.relu(self.a(x))))))
        return F.relu(out + (x if self.proj is None else self.proj(x)))


class RegNetY(nn.Module):
    def __init__(self, blocks: tuple[int, ...]):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        layers, c_in = [], 8
        for n, width in zip(blocks, (12, 16), strict=True):
            for place in range(n):
                layers.append(RegNetBlock(c_in, width, 1 if place else 2))
                c_in = width
        self.trunk = nn.Sequential(*layers)
        self.fc = nn.Linear(c_in, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.trunk(F.relu(self.stem(x))).mean((2, 3)))


def _gated(name: str, gate: Callable[[int], nn.Module], needs: str = "sigmoid") -> Dialect:
    return family(f"gate_{name}", lambda n: GatedResNet(n, gate), (3, 12, 12), (2, 2), needs=needs)


DIALECTS: list[Dialect] = [
    _gated("linear_expand_as", LinearGate),
    _gated("linear_index", IndexGate),
    _gated("linear_expand", ExpandedGate),
    _gated("conv", ConvGate),
    _gated("conv_hard_in_place", HardGate, "hard_sigmoid"),
    family("gate_chain", GatedChain, (3, 12, 12), (2, 2), nested=False, needs="sigmoid"),
    family("regnet_y", RegNetY, (3, 16, 16), (2, 2), nested=False, needs="sigmoid"),
    refused(
        "refused_spatial_gate", lambda: GatedResNet((1, 1), SpatialGate), "two maps.*attention"
    ),
]
