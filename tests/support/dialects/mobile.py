"""Networks of phones: depthwise convolutions between two that are 1x1 (MobileNets, MnasNet)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dialect import Dialect, family

# expansion, width and stride of each stage of MobileNetV2, scaled down from the published table
STAGES = ((1, 4, 1), (6, 6, 2), (6, 8, 2), (6, 12, 1))


def unit(c_in: int, c_out: int, kernel: int, stride: int, act: object, groups: int = 1):
    """Convolution, batch norm, activation, as one nn.Sequential."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), act(inplace=True))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a sum where the shape does not change."""

    def __init__(self, c_in: int, c_out: int, stride: int, expand: int, act: object):
        super().__init__()
        hidden = c_in * expand
        self.use_res_connect = stride == 1 and c_in == c_out
        layers = [unit(c_in, hidden, 1, 1, act)] if expand != 1 else []
        layers += [
            unit(hidden, hidden, 3, stride, act, groups=hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """Its blocks in one flat `features`, as torchvision has them.

    blocks: how many with a sum follow the first block of each stage, which has none.
    """

    def __init__(self, blocks: tuple[int, ...], act: object = nn.ReLU6):
        super().__init__()
        layers: list[nn.Module] = [unit(3, 8, 3, 2, act)]
        c_in = 8
        for n, (expand, c_out, stride) in zip((0, *blocks), STAGES, strict=True):
            for place in range(n + 1):
                step = 1 if place else stride
                layers.append(InvertedResidual(c_in, c_out, step, expand, act))
                c_in = c_out
        layers.append(unit(c_in, 24, 1, 1, act))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class MobileNetV1(nn.Module):
    """A chain: each block is a depthwise convolution and a 1x1 convolution."""

    def __init__(self, blocks: tuple[int, ...]):
        super().__init__()
        self.stem = unit(3, 8, 3, 2, nn.ReLU)
        layers, c_in = [], 8
        for n, c_out in zip(blocks, (12, 16, 24), strict=True):
            for place in range(n):
                depthwise = unit(c_in, c_in, 3, 1 if place else 2, nn.ReLU, groups=c_in)
                layers.append(nn.Sequential(*depthwise, *unit(c_in, c_out, 1, 1, nn.ReLU)))
                c_in = c_out
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(c_in, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(self.stem(x)).mean((2, 3)))


class Separable(nn.Module):
    """A residual block whose depthwise convolutions have no activation, as in Xception."""

    def __init__(self, width: int):
        super().__init__()
        self.a, self.b = (
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                nn.Conv2d(width, width, 1, bias=False),
                nn.BatchNorm2d(width),
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(nn.functional.relu(self.a(nn.functional.relu(x))))


class SeparableNet(nn.Module):
    """Stages of `Separable`, with a strided convolution before each."""

    def __init__(self, blocks: tuple[int, ...]):
        super().__init__()
        layers, c_in = [], 3
        for n, width in zip(blocks, (8, 12), strict=True):
            layers += [nn.Conv2d(c_in, width, 3, 2, 1), *(Separable(width) for _ in range(n))]
            c_in = width
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(c_in, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(nn.functional.relu(self.body(x)).mean((2, 3)))


DIALECTS: list[Dialect] = [
    family("mobilenet_v2", MobileNetV2, (3, 32, 32), (1, 2, 2), nested=False),
    family(
        "mobilenet_v2_relu", lambda n: MobileNetV2(n, nn.ReLU), (3, 32, 32), (2, 1, 2), nested=False
    ),
    family("mobilenet_v1", lambda n: MobileNetV1(n[1:]), (3, 32, 32), (1, 2, 1, 2), nested=False),
    family("separable", SeparableNet, (3, 16, 16), (2, 2), nested=False),
]
