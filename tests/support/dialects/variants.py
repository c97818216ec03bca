"""The same small ResNet with unusual parts: convolutions, norms, forwards, blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from .dialect import Dialect, family
from .layouts import WIDTHS, Frame, Unit, stages


class Parts(nn.Module):
    """A block whose conv and norm come from functions."""

    def __init__(self, c_in: int, c_out: int, stride: int, conv, norm):
        super().__init__()
        self.conv1, self.norm1 = conv(c_in, c_out, stride), norm(c_out)
        self.conv2, self.norm2 = conv(c_out, c_out, 1), norm(c_out)
        self.act = nn.ReLU(inplace=True)
        self.skip = nn.Conv2d(c_in, c_out, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.norm1(self.conv1(x)))
        return self.act(self.norm2(self.conv2(out)) + self.skip(x))


def plain(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)


def biased(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Conv2d(c_in, c_out, 3, stride, 1)


def separable(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False),
        nn.Conv2d(c_in, c_out, 1, bias=False),
    )


def factorised(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, (3, 1), (stride, 1), (1, 0), bias=False),
        nn.Conv2d(c_out, c_out, (1, 3), (1, stride), (0, 1), bias=False),
    )


def dilated(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Conv2d(c_in, c_out, 3, stride, 2, dilation=2, bias=False)


def reflected(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(c_in, c_out, 3, stride, bias=False))


def padded_first(c_in: int, c_out: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(c_in, c_out, 3, stride, bias=False))


CONVS: dict[str, Callable[..., nn.Module]] = {
    "factorised": factorised,
    "dilated": dilated,
    "reflection_pad": reflected,
    "zero_pad_module": padded_first,
    "separable": separable,
    "weight_norm": lambda *a: weight_norm(biased(*a)),
    "spectral_norm": lambda *a: spectral_norm(biased(*a)),
}
NORMS: dict[str, tuple[Callable[[int], nn.Module], str | None]] = {
    "none": (lambda c: nn.Identity(), None),
    "empty_sequential": (lambda c: nn.Sequential(), None),
    "no_affine": (lambda c: nn.BatchNorm2d(c, affine=False), None),
    "no_statistics": (lambda c: nn.BatchNorm2d(c, track_running_stats=False), None),
    "momentum_none": (lambda c: nn.BatchNorm2d(c, momentum=None), None),
    "sync": (nn.SyncBatchNorm, None),
    "instance": (lambda c: nn.InstanceNorm2d(c, affine=True), None),
    "group": (lambda c: nn.GroupNorm(4, c), r"norm1 \(GroupNorm\)"),
    "layer": (lambda c: nn.GroupNorm(1, c), r"norm1 \(GroupNorm\)"),
    "lrn": (lambda c: nn.LocalResponseNorm(3), r"norm1 \(LocalResponseNorm\)"),
}


class PartsNet(Frame):
    def __init__(self, blocks, conv=biased, norm=nn.BatchNorm2d):
        super().__init__()
        made = stages(blocks, lambda a, b, s: Parts(a, b, s, conv, norm))
        for i, stage in enumerate(made):
            self.add_module(f"group{i}", nn.Sequential(*stage))

    def body(self, x: Tensor) -> Tensor:
        return self.group2(self.group1(self.group0(x)))


class Plain(PartsNet):
    """PartsNet under the forwards below."""


class ForwardWithFlags(Plain):
    """Distillation repositories return features on request."""

    def forward(self, x: Tensor, is_feat: bool = False, preact: bool = False):
        f0 = x = F.relu(self.entry_norm(self.entry(x)))
        f1 = self.group0(f0)
        f2 = self.group1(f1)
        f3 = self.group2(f2)
        x = self.exit(f3.mean((2, 3)))
        return ([f0, f1, f2, f3], x) if is_feat else x


class ForwardChecks(Plain):
    """Assertions and errors about shapes."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 4, "a batch is wanted"
        assert x.size(2) % 4 == 0, "bad size"
        if x.shape[1] != 3:
            raise ValueError("three channels are wanted")
        torch._assert(x.shape[3] > 4, "too small")
        return super().forward(x)


class ForwardKeywords(Plain):
    """Everything called by keyword; extra arguments that nobody passes."""

    def forward(self, input: Tensor, *args: object, **kwargs: object) -> Tensor:
        x = self.entry_norm(input=self.entry(input=input))
        x = self.body(x=F.relu(input=x))
        return self.exit(input=torch.flatten(input=F.adaptive_avg_pool2d(x, 1), start_dim=1))


class ForwardScripting(Plain):
    """Branches on scripting and on attributes, a closure, a local class of steps."""

    with_cp = False

    def forward(self, x: Tensor) -> Tensor:
        def inner(y: Tensor) -> Tensor:
            return super(ForwardScripting, self).forward(y)

        if self.with_cp and x.requires_grad:
            return checkpoint(inner, x, use_reentrant=False)
        if not torch.jit.is_scripting() and not isinstance(x, list):
            return inner(x)
        raise TypeError("scripting is not for this network")


class ForwardCheckpoint(Plain):
    """Activation checkpointing while training."""

    def body(self, x: Tensor) -> Tensor:
        if self.training:
            x = checkpoint(self.group0, x, use_reentrant=False)
            return self.group2(checkpoint(self.group1, x, use_reentrant=False))
        return super().body(x)


class ForwardAutocast(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().forward(x)


class ForwardPermutes(Plain):
    """Takes channels-last memory and images that it scales itself."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(memory_format=torch.channels_last).float() * 2.0 - 0.1
        return super().forward(x.contiguous())


class ForwardSpreads(Plain):
    """A list of features is kept and indexed; a Sequential is sliced."""

    def body(self, x: Tensor) -> Tensor:
        features = [x]
        for group in list(self.children())[-3:]:
            for block in group:
                features.append(block(features[-1]))
        return features[-1]


class LastFlag(Unit):
    """Returns (out, preact) where it is the last of its group, as CRD-like code does."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__(c_in, c_out, stride)
        self.is_last = False

    def forward(self, x: Tensor):
        y = self.nb(self.b(F.relu(self.na(self.a(x)))))
        y += x if self.side is None else self.side(x)
        return (F.relu(y), y) if self.is_last else F.relu(y)


class LastFlagNet(Frame):
    def __init__(self, blocks):
        super().__init__()
        made = stages(blocks, LastFlag)
        for stage in made:
            stage[-1].is_last = True
        self.l1, self.l2, self.l3 = (nn.Sequential(*stage) for stage in made)

    def body(self, x: Tensor) -> Tensor:
        x, _ = self.l1(x)
        x, _ = self.l2(x)
        x, _ = self.l3(x)
        return x


class TwoReluOutputs(Frame):
    """Blocks end before their ReLU; the network applies it between them."""

    class Open(nn.Module):
        def __init__(self, c_in: int, c_out: int, stride: int):
            super().__init__()
            self.f = nn.Conv2d(c_in, c_out, 3, stride, 1)
            self.g = nn.Conv2d(c_out, c_out, 3, 1, 1)
            self.p = nn.Conv2d(c_in, c_out, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.g(F.relu(self.f(x))) + self.p(x)

    def __init__(self, blocks):
        super().__init__()
        made = stages(blocks, self.Open)
        for i, stage in enumerate(made):
            self.add_module(f"s{i}", nn.ModuleList(stage))

    def body(self, x: Tensor) -> Tensor:
        for i in range(3):
            for block in getattr(self, f"s{i}"):
                x = F.relu(block(x))
        return x


class SharedBlock(Frame):
    """One block is called twice: recurrent, or simply reused."""

    def __init__(self, blocks):
        super().__init__()
        self.groups = nn.ModuleList(nn.Sequential(*stage) for stage in stages(blocks))

    def body(self, x: Tensor) -> Tensor:
        for group in self.groups:
            x = group(x)
            x = group[-1](x) if len(group) > 1 else x
        return x


class AttentionBlock(Unit):
    """Channel and spatial attention inside the residual branch."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__(c_in, c_out, stride)
        self.mlp = nn.Sequential(nn.Linear(c_out, 4), nn.ReLU(), nn.Linear(4, c_out), nn.Sigmoid())
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.nb(self.b(F.relu(self.na(self.a(x)))))
        n, c, _, _ = y.size()
        y = y * self.mlp(F.adaptive_avg_pool2d(y, 1).view(n, c)).view(n, c, 1, 1)
        stack = torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1)
        y = y * torch.sigmoid(self.spatial(stack))
        return F.relu(y + (x if self.side is None else self.side(x)))


class PoolingDown(Frame):
    """Resolution falls in a pooling between groups, not in a block; widths change in a 1x1."""

    def __init__(self, blocks):
        super().__init__()
        parts: list[nn.Module] = []
        c_in = WIDTHS[0]
        for i, n in enumerate(blocks):
            if i:
                parts += [nn.MaxPool2d(2), nn.Conv2d(c_in, WIDTHS[i], 1, bias=False)]
                parts += [nn.BatchNorm2d(WIDTHS[i]), nn.ReLU()]
            c_in = WIDTHS[i]
            parts += [Unit(c_in, c_in, 1) for _ in range(n)]
        self.parts = nn.Sequential(*parts)

    def body(self, x: Tensor) -> Tensor:
        return self.parts(x)


class GroupNet(Frame):
    """Blocks from a class given."""

    unit: type[nn.Module] = AttentionBlock

    def __init__(self, blocks):
        super().__init__()
        self.a, self.b, self.c = (nn.Sequential(*s) for s in stages(blocks, self.unit))

    def body(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)))


FORWARDS: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
    "flags": ForwardWithFlags,
    "checks": ForwardChecks,
    "keywords": ForwardKeywords,
    "scripting": ForwardScripting,
    "checkpoint": ForwardCheckpoint,
    "autocast": ForwardAutocast,
    "memory_format": ForwardPermutes,
    "feature_list": ForwardSpreads,
}

DIALECTS: list[Dialect] = [
    *(
        family(
            f"conv_{n}",
            lambda b, c=c: PartsNet(b, conv=c),
            same_shallow=n != "weight_norm",
        )
        for n, c in CONVS.items()
    ),
    *(
        family(f"norm_{n}", lambda b, c=c: PartsNet(b, plain, c), refuses=why)
        for n, (c, why) in NORMS.items()
    ),
    *(family(f"forward_{n}", make) for n, make in FORWARDS.items()),
    family("block_returns_pair", LastFlagNet),
    family("block_without_last_relu", TwoReluOutputs),
    family("block_with_attention", GroupNet, refuses="two maps.*attention"),
    family("block_shared", SharedBlock),
    family("pool_between_groups", PoolingDown, nested=False),
]
