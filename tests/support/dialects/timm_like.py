"""ResNets in the manner of timm: Identity place-holders, norms that carry their activation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dialect import Dialect, family


class SelectAdaptivePool2d(nn.Module):
    """Pool and flatten, chosen by name."""

    def __init__(self, pool_type: str = "avg", flatten: bool = True):
        super().__init__()
        self.pool_type = pool_type
        pools = {"avg": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}
        self.pool = pools[pool_type](1)
        self.flatten = nn.Flatten(1) if flatten else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return self.flatten(x)


class DropPath(nn.Module):
    """Stochastic depth: nothing in eval mode or at rate 0."""

    def __init__(self, drop_prob: float = 0.0):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1 - self.drop_prob
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        mask = x.new_empty(shape).bernoulli_(keep)
        if keep > 0.0:
            mask.div_(keep)
        return x * mask


class BatchNormAct2d(nn.BatchNorm2d):
    """Batch norm and its activation in one module."""

    def __init__(self, num_features: int, apply_act: bool = True):
        super().__init__(num_features)
        self.drop = nn.Identity()
        self.act = nn.ReLU(inplace=True) if apply_act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum,
            self.eps,
        )
        x = self.drop(x)
        return self.act(x)


class BatchNormActSuper(nn.BatchNorm2d):
    """The same over `super().forward`, as other libraries write it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, max(4, channels // 4), 1)
        self.act = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(max(4, channels // 4), channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        s = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.fc2(self.act(self.fc1(s))))


class EfficientChannelAttention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3)).view(x.shape[0], 1, -1)
        y = self.conv(y).view(x.shape[0], -1, 1, 1).sigmoid()
        return x * y.expand_as(x)


class BlurPool2d(nn.Module):
    """Anti-aliased stride: a fixed depthwise filter held in a buffer."""

    def __init__(self, channels: int):
        super().__init__()
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("filt", (taps[:, None] * taps[None]).expand(channels, 1, 3, 3).clone())
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), "reflect")
        return F.conv2d(x, self.filt, stride=2, groups=self.channels)


class Conv2dSame(nn.Conv2d):
    """Padding computed from the input's size, as TensorFlow does it."""

    def forward(self, x: Tensor) -> Tensor:
        ih, iw = x.size()[-2:]
        kh, kw = self.weight.size()[-2:]
        sh, sw = self.stride
        ph = max((math.ceil(ih / sh) - 1) * sh + kh - ih, 0)
        pw = max((math.ceil(iw / sw) - 1) * sw + kw - iw, 0)
        if ph > 0 or pw > 0:
            x = F.pad(x, [pw // 2, pw - pw // 2, ph // 2, ph - ph // 2])
        return F.conv2d(x, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)


class StdConv2d(nn.Conv2d):
    """Weight standardisation at every forward."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6)
        weight = weight.reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, c_in, planes, stride, downsample, o: Options):
        super().__init__()
        aa = o.aa is not None and stride == 2
        self.conv1 = o.conv(c_in, planes, 3, 1 if aa else stride, o.pad(3), bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.drop_block = nn.Identity()
        self.act1 = nn.ReLU(inplace=True)
        self.aa = o.aa(planes) if aa else nn.Identity()
        self.conv2 = o.conv(planes, planes, 3, 1, o.pad(3), bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.se = o.attention(planes) if o.attention else None
        self.act2 = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.drop_path = DropPath(o.drop_path) if o.drop_path is not None else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.drop_block(x)
        x = self.act1(x)
        x = self.aa(x)
        x = self.conv2(x)
        x = self.bn2(x)
        if self.se is not None:
            x = self.se(x)
        if self.drop_path is not None:
            x = self.drop_path(x)
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        x += shortcut
        return self.act2(x)


class Bottleneck(nn.Module):
    """bn1 and bn2 carry their ReLU; bn3 does not."""

    expansion = 4

    def __init__(self, c_in, planes, stride, downsample, o: Options):
        super().__init__()
        c_out = planes * self.expansion
        self.conv1 = nn.Conv2d(c_in, planes, 1, bias=False)
        self.bn1 = o.norm_act(planes)
        self.conv2 = o.conv(planes, planes, 3, stride, o.pad(3), groups=o.groups, bias=False)
        self.bn2 = o.norm_act(planes)
        self.conv3 = nn.Conv2d(planes, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.se = o.attention(c_out) if o.attention else nn.Identity()
        self.act3 = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.drop_path = DropPath(o.drop_path) if o.drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.bn1(self.conv1(x))
        x = self.bn2(self.conv2(x))
        x = self.se(self.bn3(self.conv3(x)))
        x = self.drop_path(x)
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        x = x + shortcut
        return self.act3(x)


class Options:
    """The keyword arguments that timm's constructor passes down."""

    def __init__(
        self,
        block=BasicBlock,
        conv=nn.Conv2d,
        norm_act=BatchNormAct2d,
        aa=None,
        attention=None,
        drop_path=None,
        avg_down=False,
        deep_stem=False,
        drop_rate=0.0,
        pool="avg",
        groups=1,
    ):
        self.block, self.conv, self.norm_act, self.aa = block, conv, norm_act, aa
        self.attention, self.drop_path, self.avg_down = attention, drop_path, avg_down
        self.deep_stem, self.drop_rate, self.pool, self.groups = deep_stem, drop_rate, pool, groups

    def pad(self, kernel: int) -> int:
        return 0 if self.conv is Conv2dSame else kernel // 2


class ResNet(nn.Module):
    """`forward_features`, `forward_head`, `global_pool`, `layer1`.. added by name."""

    def __init__(self, layers: tuple[int, ...], o: Options, width: int = 8, num_classes: int = 10):
        super().__init__()
        self.num_classes = num_classes
        self.drop_rate = o.drop_rate
        if o.deep_stem:
            self.conv1 = nn.Sequential(
                nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(4),
                nn.ReLU(inplace=True),
                nn.Conv2d(4, 4, 3, padding=1, bias=False),
                nn.BatchNorm2d(4),
                nn.ReLU(inplace=True),
                nn.Conv2d(4, width, 3, padding=1, bias=False),
            )
        else:
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        c_in = width
        for i, depth in enumerate(layers):
            planes, stride = width * (i + 1), 1 if i == 0 else 2
            blocks = []
            for j in range(depth):
                c_out, s = planes * o.block.expansion, stride if j == 0 else 1
                down = None
                if s != 1 or c_in != c_out:
                    down = self._downsample(c_in, c_out, s, o.avg_down)
                blocks.append(o.block(c_in, planes, s, down, o))
                c_in = c_out
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.num_features = c_in
        self.global_pool = SelectAdaptivePool2d(o.pool)
        self.fc = nn.Linear(c_in, num_classes) if num_classes > 0 else nn.Identity()

    @staticmethod
    def _downsample(c_in: int, c_out: int, stride: int, avg_down: bool) -> nn.Sequential:
        if avg_down:
            pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
            conv = nn.Conv2d(c_in, c_out, 1, bias=False)
            return nn.Sequential(pool if stride > 1 else nn.Identity(), conv, nn.BatchNorm2d(c_out))
        conv = nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(c_out))

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        return self.layer4(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.global_pool(x)
        if self.drop_rate:
            x = F.dropout(x, p=float(self.drop_rate), training=self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.forward_features(x)
        return self.forward_head(x)


def _timm(name: str, **options: object) -> Dialect:
    about = {"refuses", "stochastic", "nested", "needs"} & set(options)
    expected = {key: options.pop(key) for key in about}
    return family(
        f"timm_{name}",
        lambda layers: ResNet(layers, Options(**options)),
        (3, 64, 64),
        (2, 2, 2, 2),
        **expected,
    )


DIALECTS: list[Dialect] = [
    _timm("basic"),
    _timm("bottleneck", block=Bottleneck),
    _timm("bottleneck_norm_act_super", block=Bottleneck, norm_act=BatchNormActSuper),
    _timm("resnet_d", block=Bottleneck, avg_down=True, deep_stem=True),
    _timm("basic_d", avg_down=True, deep_stem=True),
    _timm("drop_path_zero", drop_path=0.0),
    _timm("drop_path", stochastic=True, nested=False, drop_path=0.3),
    _timm(
        "drop_path_bottleneck",
        stochastic=True,
        nested=False,
        block=Bottleneck,
        drop_path=0.3,
    ),
    _timm("drop_rate", stochastic=True, drop_rate=0.4),
    _timm("max_pool_head", pool="max"),
    _timm("conv_same", conv=Conv2dSame),
    _timm("weight_standardised", refuses="weight standardisation", conv=StdConv2d),
    _timm("squeeze_excite", needs="sigmoid", attention=SqueezeExcite),
    _timm("squeeze_excite_bottleneck", needs="sigmoid", block=Bottleneck, attention=SqueezeExcite),
    _timm("channel_attention", refuses="attention.*squeeze", attention=EfficientChannelAttention),
    _timm("blur_pool", refuses="blur pooling", aa=BlurPool2d),
    _timm("resnext", block=Bottleneck, groups=4),
]
