"""CIFAR ResNets: a 3x3 stem, three groups, and every way to write the shortcut ("option A")."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dialect import Dialect, family


class LambdaLayer(nn.Module):
    def __init__(self, lambd: Callable[[Tensor], Tensor]):
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        return self.lambd(x)


class Residual(nn.Module):
    """Post-activation block; `shortcut` builds the path around it from (c_in, c_out, stride)."""

    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: Callable[..., nn.Module]):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class CifarResNet(nn.Module):
    def __init__(
        self,
        blocks: tuple[int, ...],
        shortcut: Callable[..., nn.Module],
        widths: tuple[int, ...] = (8, 16, 32),
        block: Callable[..., nn.Module] = Residual,
        in_channels: int = 3,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages, c_in = [], widths[0]
        for i, (width, n) in enumerate(zip(widths, blocks, strict=True)):
            stage = []
            for j in range(n):
                stride = 2 if i > 0 and j == 0 else 1
                stage.append(block(c_in, width, stride, shortcut))
                c_in = width
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(c_in, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer1(out)
        out = self.layer2(out)
        out = self.layer3(out)
        out = F.avg_pool2d(out, out.size()[3])
        out = out.view(out.size(0), -1)
        return self.linear(out)


def slice_pad_centre(c_in: int, c_out: int, stride: int) -> nn.Module:
    """The lambda of the common CIFAR ResNet: a quarter of the channels on either side."""
    pad = c_out // 4
    return LambdaLayer(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad), "constant", 0))


def slice_pad_end(c_in: int, c_out: int, stride: int) -> nn.Module:
    return LambdaLayer(lambda x: F.pad(x[..., ::stride, ::stride], (0, 0, 0, 0, 0, c_out - c_in)))


def slice_pad_front(c_in: int, c_out: int, stride: int) -> nn.Module:
    return LambdaLayer(lambda x: F.pad(x[:, :, ::2, ::2], [0, 0, 0, 0, c_out - c_in, 0], value=0.0))


def slice_pad_full_spec(c_in: int, c_out: int, stride: int) -> nn.Module:
    """All eight numbers of the padding, batch included."""
    return LambdaLayer(
        lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, c_out - c_in, 0, 0), mode="constant")
    )


class DownsampleA(nn.Module):
    """Average pool of kernel 1, then the input beside itself times zero."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.avg = nn.AvgPool2d(kernel_size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avg(x)
        return torch.cat((x, x.mul(0)), 1)


class DownsampleTimesZero(DownsampleA):
    def forward(self, x: Tensor) -> Tensor:
        x = self.avg(x)
        return torch.cat([x, x * 0], dim=1)


class CatZeros(nn.Module):
    """Zeros made to measure from the input's shape."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.extra, self.stride = c_out - c_in, stride

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2, self.stride)
        zeros = torch.zeros(x.size(0), self.extra, x.size(2), x.size(3), device=x.device)
        return torch.cat((x, zeros.to(x.dtype)), dim=1)


class CatNewZeros(CatZeros):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 1, self.stride)
        n, _, h, w = x.shape
        return torch.cat([x, x.new_zeros(n, self.extra, h, w)], 1)


class CatZerosLike(CatZeros):
    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(x, kernel_size=2)
        return torch.cat((x, torch.zeros_like(x)), 1)


class CatZerosType(CatZeros):
    """The old manner: a FloatTensor filled with zeros."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, ::2, ::2]
        shape = [x.size(0), self.extra, x.size(2), x.size(3)]
        return torch.cat((x, torch.zeros(shape).type_as(x)), 1)


class IdentityPadding(nn.Module):
    """Max pool of kernel 1 for the stride, F.pad for the channels."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.pooling = nn.MaxPool2d(1, stride=stride)
        self.add_channels = c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        out = F.pad(x, (0, 0, 0, 0, 0, self.add_channels))
        return self.pooling(out)


def constant_pad_3d(c_in: int, c_out: int, stride: int) -> nn.Module:
    pool = nn.AvgPool2d(2, stride) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, nn.ConstantPad3d((0, 0, 0, 0, 0, c_out - c_in), 0.0))


def max_pool_pad(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.MaxPool2d(2, stride), LambdaLayer(lambda x: F.pad(x, (0, 0, 0, 0, 0, c_out - c_in)))
    )


def projection(c_in: int, c_out: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


def projection_bare(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Conv2d(c_in, c_out, 1, stride)


def projection_3x3(c_in: int, c_out: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


def projection_relu(c_in: int, c_out: int, stride: int) -> nn.Module:
    """A shortcut with an activation of its own."""
    conv = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())


class FreshRelu(nn.Module):
    """`residual_function` and `shortcut`; the last ReLU is made anew in every forward."""

    expansion = 1

    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: Callable[..., nn.Module]):
        super().__init__()
        self.residual_function = nn.Sequential(
            nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(c_out, c_out * self.expansion, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(c_out * self.expansion),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        return nn.ReLU(inplace=True)(self.residual_function(x) + self.shortcut(x))


class ShapeDecides(Residual):
    """Whether to pad is read off the shapes in forward; the stride is one more `if`."""

    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: Callable[..., nn.Module]):
        super().__init__(c_in, c_out, 1, lambda *_: nn.Sequential())
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.out_channels = c_out

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if x.shape[-1] != out.shape[-1]:
            x = F.avg_pool2d(x, 2)
        if x.shape[1] != self.out_channels:
            x = F.pad(x, (0, 0, 0, 0, 0, self.out_channels - x.shape[1]))
        return F.relu(out + x)


class PyramidBlock(nn.Module):
    """BN first, no ReLU last, and the shortcut padded to whatever width came out."""

    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: object = None):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.AvgPool2d(2, 2, ceil_mode=True) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.bn1(x))
        out = self.conv2(self.relu(self.bn2(out)))
        out = self.bn3(out)
        shortcut = x if self.downsample is None else self.downsample(x)
        if shortcut.size(1) != out.size(1):
            n, c, h, w = out.size()
            zeros = torch.zeros(n, c - shortcut.size(1), h, w)
            out += torch.cat((shortcut, zeros), 1)
        else:
            out += shortcut
        return out


class PyramidNet(nn.Module):
    """Every block is a little wider than the one before."""

    def __init__(self, blocks: tuple[int, ...]):
        super().__init__()
        width = 8
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        layers = []
        for i, n in enumerate(blocks):
            for j in range(n):
                layers.append(PyramidBlock(width, width + 4, 2 if i > 0 and j == 0 else 1))
                width += 4
        self.layers = nn.Sequential(*layers)
        self.bn_final = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.bn1(self.conv1(x)))
        x = F.relu(self.bn_final(x))
        return self.fc(x.mean((2, 3)))


def _cifar(name: str, shortcut: Callable[..., nn.Module], **options: object) -> Dialect:
    given = {"block", "widths", "in_channels"}
    network = {key: value for key, value in options.items() if key in given}
    rest = {key: value for key, value in options.items() if key not in given}
    rest.setdefault("input_shape", (3, 16, 16))
    return family(
        f"cifar_{name}",
        lambda blocks: CifarResNet(blocks, shortcut, **network),  # type: ignore[arg-type]
        **rest,  # type: ignore[arg-type]
    )


DIALECTS: list[Dialect] = [
    _cifar("slice_pad_centre", slice_pad_centre),
    _cifar("slice_pad_centre_32", slice_pad_centre, input_shape=(3, 32, 32)),
    _cifar("slice_pad_centre_deep", slice_pad_centre, blocks=(5, 5, 5)),
    _cifar("slice_pad_end", slice_pad_end),
    _cifar("slice_pad_end_uneven_widths", slice_pad_end, widths=(8, 20, 28)),
    _cifar("slice_pad_front", slice_pad_front),
    _cifar("slice_pad_full_spec", slice_pad_full_spec),
    _cifar("downsample_mul_zero", DownsampleA),
    _cifar("downsample_times_zero", DownsampleTimesZero),
    _cifar("cat_zeros", CatZeros),
    _cifar("cat_new_zeros", CatNewZeros),
    _cifar("cat_zeros_like", CatZerosLike),
    _cifar("cat_zeros_type_as", CatZerosType),
    _cifar("identity_padding", IdentityPadding),
    _cifar("constant_pad_3d", constant_pad_3d),
    _cifar("max_pool_pad", max_pool_pad),
    _cifar("projection", projection),
    _cifar("projection_bare", projection_bare),
    _cifar("projection_3x3", projection_3x3),
    _cifar("projection_relu", projection_relu),
    _cifar("projection_wide_first_group", projection, widths=(8, 8, 24)),
    _cifar("equal_widths", projection, widths=(12, 12, 12)),
    _cifar("equal_widths_pool", lambda c_in, c_out, stride: nn.AvgPool2d(2), widths=(12, 12, 12)),
    _cifar("fresh_relu", projection, block=FreshRelu),
    _cifar("shape_decides", projection, block=ShapeDecides),
    _cifar("grey", slice_pad_end, in_channels=1, input_shape=(1, 28, 28)),
    _cifar("five_channels", slice_pad_end, in_channels=5, input_shape=(5, 16, 16)),
    _cifar("odd_size", projection, input_shape=(3, 17, 17)),
    # every block is wider than the one before, so that none can go: six groups of one block
    Dialect("cifar_pyramid", lambda: PyramidNet((2, 2, 2)), (3, 16, 16), 6, (1,) * 6),
]
