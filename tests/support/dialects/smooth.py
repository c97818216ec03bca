"""Networks whose activations are not exactly zero: SiLU, hard-swish, GELU, LeakyReLU, PReLU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dialect import Dialect, family
from .gated import ConvGate, HardGate, hard_sigmoid
from .idioms import IdiomNet
from .mobile import unit


class HSwish(nn.Module):
    """As repositories wrote it before torch had one."""

    def __init__(self, inplace: bool = True):
        super().__init__()
        self.relu6 = nn.ReLU6(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.relu6(x + 3) / 6


class Expanding(nn.Module):
    """Expand, filter each channel with 5x5, gate, project, and a sum where the shape allows."""

    def __init__(self, c_in: int, c_out: int, stride: int, act: object, gate: object):
        super().__init__()
        hidden = 4 * c_in
        self.expand = unit(c_in, hidden, 1, 1, act)
        self.depthwise = unit(hidden, hidden, 5, stride, act, groups=hidden)
        self.se = gate(hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.se(self.depthwise(self.expand(x))))
        return x + out if self.residual else out


class Phone(nn.Module):
    """MobileNetV3 and EfficientNet in small: a stage is a block without a sum, and some with."""

    def __init__(self, blocks: tuple[int, ...], act: object, gate: object, hidden: bool):
        super().__init__()
        self.stem = unit(3, 6, 3, 2, act)
        layers, c_in = [], 6
        for n, width in zip(blocks, (6, 8), strict=True):
            for place in range(n + 1):
                layers.append(Expanding(c_in, width, 1 if place else 2, act, gate))
                c_in = width
        self.blocks = nn.Sequential(*layers)
        self.head = unit(c_in, 16, 1, 1, act)
        last = [nn.Linear(16, 20), act(inplace=True), nn.Dropout(0.2), nn.Linear(20, 10)]
        self.classifier = nn.Sequential(*last) if hidden else nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.head(self.blocks(self.stem(x))), 1)
        return self.classifier(torch.flatten(x, 1))


class Slopes(nn.Module):
    """A learned slope for each channel: nn.PReLU, and F.prelu with a parameter of its own."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.act1 = nn.PReLU(c_out)
        self.slope = nn.Parameter(torch.full((c_out,), 0.1))
        self.down = nn.Conv2d(c_in, c_out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return F.prelu(out + self.down(x), self.slope)


class SlopeNet(nn.Module):
    def __init__(self, blocks: tuple[int, ...]):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.PReLU(8))
        layers, c_in = [], 8
        for n, width in zip(blocks, (8, 12), strict=True):
            stage = []
            for place in range(n):
                stage.append(Slopes(c_in, width, 1 if place or width == 8 else 2))
                c_in = width
            layers.append(nn.Sequential(*stage))
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(c_in, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(self.stem(x)).mean((2, 3)))


def _smooth(name: str, act: object, needs: str | None) -> Dialect:
    make: Callable[[tuple[int, ...]], nn.Module] = lambda n: IdiomNet(n, relu=act)  # noqa: E731
    return family(f"smooth_{name}", make, needs=needs)


EfficientGate = partial(ConvGate, act=nn.SiLU)

DIALECTS: list[Dialect] = [
    _smooth("gelu", nn.GELU, "gelu"),
    _smooth("gelu_function", F.gelu, "gelu"),
    _smooth("silu_in_place", partial(F.silu, inplace=True), "silu"),
    _smooth("swish", lambda x: x * x.sigmoid(), "silu"),
    _smooth("leaky_relu", nn.LeakyReLU, None),
    _smooth("leaky_relu_function", lambda x: F.leaky_relu(x, 0.1), None),
    _smooth("prelu", nn.PReLU, "prelu"),
    _smooth("hardswish", nn.Hardswish, "hard_swish"),
    _smooth("h_swish", lambda x: x * hard_sigmoid(x), "hard_swish"),
    family("smooth_slopes", SlopeNet, (3, 12, 12), (2, 2), needs="prelu"),
    family(
        "mobilenet_v3",
        lambda n: Phone(n, HSwish, HardGate, hidden=True),
        (3, 32, 32),
        (2, 2),
        nested=False,
        needs="hard_swish",
    ),
    family(
        "efficientnet",
        lambda n: Phone(n, nn.SiLU, EfficientGate, hidden=False),
        (3, 32, 32),
        (1, 2),
        nested=False,
        needs="silu",
    ),
]
