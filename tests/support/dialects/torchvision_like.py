"""ResNets in the manner of torchvision: `downsample` Sequentials, `_make_layer`, `fc`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .dialect import Dialect, family


def conv3x3(
    c_in: int, c_out: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(
        c_in, c_out, 3, stride, padding=dilation, groups=groups, bias=False, dilation=dilation
    )


class Basic(nn.Module):
    expansion = 1

    def __init__(self, inplanes, planes, stride, downsample, groups, base_width, dilation, norm):
        super().__init__()
        if groups != 1 or base_width != 64 or dilation > 1:
            raise ValueError("Basic takes plain convolutions only")
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inplanes, planes, stride, downsample, groups, base_width, dilation, norm):
        super().__init__()
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = nn.Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, planes * self.expansion, 1, bias=False)
        self.bn3 = norm(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        out = self.relu(out)
        out = self.conv3(out)
        out = self.bn3(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """Stem of 7x7 and max pool, `layer1`.., `avgpool`, `fc`."""

    def __init__(
        self,
        block: type[nn.Module],
        layers: tuple[int, ...],
        planes: int = 8,
        num_classes: int = 10,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        dilate: tuple[bool, ...] = (False, False, False),
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        in_channels: int = 3,
    ):
        super().__init__()
        self._norm_layer = norm
        self.inplanes = planes
        self.dilation = 1
        self.groups = groups
        self.base_width = width_per_group
        self.conv1 = nn.Conv2d(in_channels, planes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, planes, layers[0])
        self.layer2 = self._make_layer(block, planes * 2, layers[1], 2, dilate[0])
        self.layer3 = self._make_layer(block, planes * 3, layers[2], 2, dilate[1])
        self.layer4 = self._make_layer(block, planes * 4, layers[3], 2, dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(planes * 4 * block.expansion, num_classes)
        if zero_init_residual:
            for m in self.modules():
                if isinstance(m, Bottleneck):
                    nn.init.constant_(m.bn3.weight, 0)
                elif isinstance(m, Basic):
                    nn.init.constant_(m.bn2.weight, 0)

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        norm = self._norm_layer
        downsample = None
        previous_dilation = self.dilation
        if dilate:
            self.dilation *= stride
            stride = 1
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = nn.Sequential(
                nn.Conv2d(self.inplanes, planes * block.expansion, 1, stride, bias=False),
                norm(planes * block.expansion),
            )
        common = (self.groups, self.base_width)
        layers = [
            block(self.inplanes, planes, stride, downsample, *common, previous_dilation, norm)
        ]
        self.inplanes = planes * block.expansion
        for _ in range(1, blocks):
            layers.append(block(self.inplanes, planes, 1, None, *common, self.dilation, norm))
        return nn.Sequential(*layers)

    def _forward_impl(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.maxpool(x)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward_impl(x)


class FrozenBatchNorm2d(nn.Module):
    """Batch norm as four buffers, as detection repositories keep it."""

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.linspace(0.5, 1.5, num_features))
        self.register_buffer("bias", torch.linspace(-0.5, 0.5, num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight.reshape(1, -1, 1, 1)
        b = self.bias.reshape(1, -1, 1, 1)
        scale = w * (self.running_var.reshape(1, -1, 1, 1) + self.eps).rsqrt()
        return x * scale + (b - self.running_mean.reshape(1, -1, 1, 1) * scale)


class QuantizableBasic(Basic):
    """The addition and its ReLU are a module, so that quantization can observe them."""

    def __init__(self, *args):
        super().__init__(*args)
        self.add_relu = AddReLU()

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        return self.add_relu(out, identity)


class AddReLU(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.relu(torch.add(a, b))


class TwoReluBasic(Basic):
    """relu1 and relu2 of their own, as CLIP-like code has them."""

    def __init__(self, *args):
        super().__init__(*args)
        del self.relu
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(out + (x if self.downsample is None else self.downsample(x)))


def _resnet(block: type[nn.Module], **options: object) -> Callable[[tuple[int, ...]], nn.Module]:
    return lambda layers: ResNet(block, layers, **options)  # type: ignore[arg-type]


FOUR = (2, 2, 2, 2)
GROUP_NORM = partial(nn.GroupNorm, 4)

DIALECTS: list[Dialect] = [
    family("torchvision_basic", _resnet(Basic), (3, 64, 64), FOUR),
    family("torchvision_basic_32", _resnet(Basic), (3, 32, 32), FOUR),
    family("torchvision_basic_224", _resnet(Basic), (3, 224, 224), FOUR),
    family("torchvision_uneven", _resnet(Basic), (3, 64, 64), (2, 3, 4, 2)),
    family("torchvision_odd_input", _resnet(Basic), (3, 75, 51), FOUR),
    family("torchvision_bottleneck", _resnet(Bottleneck), (3, 64, 64), FOUR),
    family("torchvision_wide", _resnet(Bottleneck, width_per_group=128), (3, 64, 64), FOUR),
    family("torchvision_grey", _resnet(Basic, in_channels=1), (1, 64, 64), FOUR),
    family("torchvision_two_classes", _resnet(Basic, num_classes=2), (3, 64, 64), FOUR),
    family("torchvision_zero_init", _resnet(Basic, zero_init_residual=True), (3, 64, 64), FOUR),
    family(
        "torchvision_zero_init_bottleneck",
        _resnet(Bottleneck, zero_init_residual=True),
        (3, 64, 64),
        FOUR,
    ),
    family(
        "torchvision_dilated",
        _resnet(Bottleneck, dilate=(False, True, True)),
        (3, 64, 64),
        FOUR,
    ),
    family(
        "torchvision_resnext",
        _resnet(Bottleneck, groups=4, width_per_group=32),
        (3, 64, 64),
        FOUR,
    ),
    family(
        "torchvision_group_norm",
        _resnet(Basic, norm=GROUP_NORM),
        (3, 64, 64),
        FOUR,
        refuses=r"bn1 \(GroupNorm\) normalises over several channels",
    ),
    family(
        "torchvision_frozen_norm",
        _resnet(Basic, norm=FrozenBatchNorm2d),
        (3, 64, 64),
        FOUR,
    ),
    family("torchvision_quantizable", _resnet(QuantizableBasic), (3, 64, 64), FOUR),
    family("torchvision_two_relus", _resnet(TwoReluBasic), (3, 64, 64), FOUR),
]
