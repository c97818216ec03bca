"""Wide ResNets (pre-activation) and PreAct ResNets as their many ports write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dialect import Dialect, family


class EqualInOutBlock(nn.Module):
    """`equalInOut` decides whether BN-ReLU comes before the fork; ReLU works in place."""

    def __init__(self, c_in: int, c_out: int, stride: int, drop_rate: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.droprate = drop_rate
        self.equalInOut = c_in == c_out
        self.convShortcut = (
            (not self.equalInOut) and nn.Conv2d(c_in, c_out, 1, stride, bias=False)
        ) or None

    def forward(self, x: Tensor) -> Tensor:
        if not self.equalInOut:
            x = self.relu1(self.bn1(x))
        else:
            out = self.relu1(self.bn1(x))
        out = self.relu2(self.bn2(self.conv1(out if self.equalInOut else x)))
        if self.droprate > 0:
            out = F.dropout(out, p=self.droprate, training=self.training)
        out = self.conv2(out)
        return torch.add(x if self.equalInOut else self.convShortcut(x), out)


class NetworkBlock(nn.Module):
    def __init__(self, n: int, c_in: int, c_out: int, block, stride: int, drop_rate: float):
        super().__init__()
        layers = []
        for i in range(int(n)):
            a, s = (c_in, stride) if i == 0 else (c_out, 1)
            layers.append(block(a, c_out, s, drop_rate))
        self.layer = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class EqualInOutWRN(nn.Module):
    """block1.layer.0 ..; the head's view has the number of channels written into it."""

    def __init__(self, blocks, widths=(8, 16, 24, 32), drop_rate=0.0, block=EqualInOutBlock, end=4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.block1 = NetworkBlock(blocks[0], widths[0], widths[1], block, 1, drop_rate)
        self.block2 = NetworkBlock(blocks[1], widths[1], widths[2], block, 2, drop_rate)
        self.block3 = NetworkBlock(blocks[2], widths[2], widths[3], block, 2, drop_rate)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(widths[3], 10)
        self.nChannels = widths[3]
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = self.block1(out)
        out = self.block2(out)
        out = self.block3(out)
        out = self.relu(self.bn1(out))
        out = F.avg_pool2d(out, self.end)
        out = out.view(-1, self.nChannels)
        return self.fc(out)


class NormalisedWRN(EqualInOutWRN):
    """Standardises its own input, as robustness repositories do."""

    def __init__(self, blocks):
        super().__init__(blocks)
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1))
        self.register_buffer("sigma", torch.tensor([0.25, 0.24, 0.26]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - self.mean) / self.sigma)


class BiasedWideBasic(nn.Module):
    """Convolutions with bias, dropout as a module between them, functional ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int, drop_rate: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1, bias=True)
        self.dropout = nn.Dropout(p=drop_rate)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, kernel_size=3, stride=stride, padding=1, bias=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride=stride, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(self.conv1(F.relu(self.bn1(x))))
        out = self.conv2(F.relu(self.bn2(out)))
        out += self.shortcut(x)
        return out


class PoolPadBlock(nn.Module):
    """Parameter-free shortcut: average pool where the resolution falls, channels padded."""

    def __init__(self, c_in: int, c_out: int, stride: int, drop_rate: float):
        super().__init__()
        self.norm_a, self.conv_a = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, c_out, 3, stride, 1)
        self.norm_b, self.conv_b = nn.BatchNorm2d(c_out), nn.Conv2d(c_out, c_out, 3, 1, 1)
        self.stride, self.extra = stride, c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_a(self.norm_a(x).relu())
        y = self.conv_b(self.norm_b(y).relu_())
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride)
        if self.extra > 0:
            x = F.pad(x, (0, 0, 0, 0, 0, self.extra))
        return x + y


class PoolPadCentreBlock(PoolPadBlock):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_a(F.relu(self.norm_a(x)))
        y = self.conv_b(F.relu(self.norm_b(y)))
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride)
        side = self.extra // 2
        return F.pad(x, (0, 0, 0, 0, side, self.extra - side)) + y


class ActivationOrderBlock(PoolPadBlock):
    """`torch.relu` and a shortcut that starts after BN-ReLU, in every block."""

    def __init__(self, c_in: int, c_out: int, stride: int, drop_rate: float):
        super().__init__(c_in, c_out, stride, drop_rate)
        self.proj = nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        o1 = torch.relu(self.norm_a(x))
        z = self.conv_b(torch.relu(self.norm_b(self.conv_a(o1))))
        return z + self.proj(o1) if self.extra or self.stride > 1 else z + x


class ThreeNormBlock(nn.Module):
    """BN after the last conv too (BN-ReLU-conv-BN-ReLU-conv-BN)."""

    def __init__(self, c_in: int, c_out: int, stride: int, drop_rate: float):
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(c_in),
            nn.ReLU(),
            nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.skip = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.skip = nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.branch(x)


class PreActBlock(nn.Module):
    """The shortcut exists only where it is needed: `hasattr` asks for it."""

    expansion = 1

    def __init__(self, c_in: int, planes: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        if stride != 1 or c_in != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, planes, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        out += shortcut
        return out


class PreActBottleneck(nn.Module):
    expansion = 4

    def __init__(self, c_in: int, planes: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, planes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        if stride != 1 or c_in != 4 * planes:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, 4 * planes, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        out = self.conv3(F.relu(self.bn3(out)))
        out += shortcut
        return out


class PreActResNet(nn.Module):
    """Four groups, and no norm between the last block and the classifier unless asked for."""

    def __init__(self, block, blocks, final_norm: bool = False):
        super().__init__()
        self.in_planes = 8
        self.conv1 = nn.Conv2d(3, 8, kernel_size=3, padding=1, bias=False)
        self.layer1 = self._make_layer(block, 8, blocks[0], 1)
        self.layer2 = self._make_layer(block, 16, blocks[1], 2)
        self.layer3 = self._make_layer(block, 24, blocks[2], 2)
        self.layer4 = self._make_layer(block, 32, blocks[3], 2)
        self.bn = nn.BatchNorm2d(32 * block.expansion) if final_norm else None
        self.linear = nn.Linear(32 * block.expansion, 10)

    def _make_layer(self, block, planes: int, n: int, stride: int) -> nn.Sequential:
        layers = []
        for s in [stride] + [1] * (n - 1):
            layers.append(block(self.in_planes, planes, s))
            self.in_planes = planes * block.expansion
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = self.layer1(out)
        out = self.layer2(out)
        out = self.layer3(out)
        out = self.layer4(out)
        if self.bn is not None:
            out = F.relu(self.bn(out))
        out = F.avg_pool2d(out, 4)
        out = out.view(out.size(0), -1)
        return self.linear(out)


def _wrn(name: str, block, **options: object) -> Dialect:
    drop = options.pop("drop_rate", 0.0)
    widths = options.pop("widths", (8, 16, 24, 32))
    return family(
        f"wrn_{name}",
        lambda blocks: EqualInOutWRN(blocks, widths, drop, block),
        **options,  # type: ignore[arg-type]
    )


SHAPE, FOUR = (3, 32, 32), (2, 2, 2, 2)

DIALECTS: list[Dialect] = [
    _wrn("equal_in_out", EqualInOutBlock),
    _wrn("equal_in_out_deep", EqualInOutBlock, blocks=(4, 4, 4)),
    _wrn("equal_in_out_dropout", EqualInOutBlock, drop_rate=0.3, stochastic=True),
    _wrn("equal_in_out_width_one", EqualInOutBlock, widths=(8, 8, 16, 32)),
    family("wrn_equal_in_out_32", lambda b: EqualInOutWRN(b, end=8), (3, 32, 32)),
    family("wrn_normalises_input", NormalisedWRN),
    _wrn("biased", BiasedWideBasic),
    _wrn("biased_dropout", BiasedWideBasic, drop_rate=0.3, stochastic=True),
    _wrn("pool_pad", PoolPadBlock),
    _wrn("pool_pad_centre", PoolPadCentreBlock),
    _wrn("shared_activation", ActivationOrderBlock),
    _wrn("three_norms", ThreeNormBlock),
    family("preact_basic", lambda b: PreActResNet(PreActBlock, b), SHAPE, FOUR),
    family("preact_basic_norm", lambda b: PreActResNet(PreActBlock, b, True), SHAPE, FOUR),
    family("preact_bottleneck", lambda b: PreActResNet(PreActBottleneck, b), SHAPE, FOUR),
    family(
        "preact_bottleneck_norm", lambda b: PreActResNet(PreActBottleneck, b, True), SHAPE, FOUR
    ),
]
