"""One small ResNet, and the many idioms for its addition, its ReLU and its head."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dialect import Dialect, family

Unary = Callable[[Tensor], Tensor]
Binary = Callable[[Tensor, Tensor], Tensor]


class IdiomBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, add: object, relu: object):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.down = None
        if stride > 1:
            self.down = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )
        self.add = add() if isinstance(add, type) else add
        self.relu = relu() if isinstance(relu, type) else relu

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.down is None else self.down(x)
        return self.relu(self.add(out, shortcut))


class IdiomNet(nn.Module):
    """`add`, `relu`: a function, a module class, or one module shared by all; `head`: likewise."""

    def __init__(
        self,
        blocks: tuple[int, ...],
        add: object = operator.add,
        relu: object = F.relu,
        head: object = None,
        widths: tuple[int, ...] = (8, 16, 24),
    ):
        super().__init__()
        add, relu, head = copy.deepcopy((add, relu, head))  # a module given here serves one network
        stages, c_in = [], widths[0]
        for i, (width, n) in enumerate(zip(widths, blocks, strict=True)):
            stages.append(nn.Sequential())
            for j in range(n):
                stages[-1].append(IdiomBlock(c_in, width, 2 if i and not j else 1, add, relu))
                c_in = width
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0])
        )
        self.relu = relu() if isinstance(relu, type) else relu
        self.body = nn.Sequential(*stages)
        self.head = head() if isinstance(head, type) else head
        spread = {FlattenGrid: 16, MeanAndMax: 2}.get(head, 1) if isinstance(head, type) else 1
        self.classifier = nn.Linear(c_in * spread, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(self.relu(self.stem(x)))
        out = self.head(out) if self.head is not None else out.mean((2, 3))
        return self.classifier(out)


# The addition. Arguments are (residual, shortcut).


class AddModule(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class FloatFunctionalLike(nn.Module):
    """An addition with an observer behind it, called through a method."""

    def __init__(self):
        super().__init__()
        self.activation_post_process = nn.Identity()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.activation_post_process(torch.add(a, b))


class LearnedScale(nn.Module):
    """SkipInit and ReZero: the residual is scaled by one learned number."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.7))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.alpha * a + b


def add_in_place(a: Tensor, b: Tensor) -> Tensor:
    a += b
    return a


ADDITIONS: dict[str, object] = {
    "operator": operator.add,
    "operator_iadd": operator.iadd,
    "in_place": add_in_place,
    "torch_add": torch.add,
    "torch_add_alpha": lambda a, b: torch.add(a, b, alpha=1),
    "torch_add_keywords": lambda a, b: torch.add(input=a, other=b),
    "method": lambda a, b: a.add(b),
    "method_in_place": lambda a, b: a.add_(b),
    "dunder": lambda a, b: a.__add__(b),
    "shortcut_first": lambda a, b: b + a,
    "module": AddModule,
    "float_functional": FloatFunctionalLike,
    "sum_of_list": lambda a, b: sum([a, b]),
    "stack_and_sum": lambda a, b: torch.stack([a, b]).sum(0),
    "scaled": lambda a, b: b + 0.5 * a,
    "scaled_alpha": lambda a, b: torch.add(b, a, alpha=0.5),
    "learned_scale": LearnedScale,
}

# The ReLU. A pair of functions is not needed: the same is used inside and at the end.


class HomemadeReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0)


class ModuleOverFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x, inplace=True)


class SubclassedReLU(nn.ReLU):
    """A ReLU under another name."""


class NoisyTrainReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(torch.relu(x), 0.2, self.training)


RELUS: dict[str, tuple[object, bool]] = {
    "module_each": (nn.ReLU, False),
    "module_shared": (nn.ReLU(inplace=True), False),
    "function": (F.relu, False),
    "function_in_place": (lambda x: F.relu(x, inplace=True), False),
    "function_in_place_positional": (lambda x: F.relu(x, True), False),
    "function_underscore": (F.relu_, False),
    "torch": (torch.relu, False),
    "torch_underscore": (torch.relu_, False),
    "method": (lambda x: x.relu(), False),
    "method_underscore": (lambda x: x.relu_(), False),
    "relu6_module": (nn.ReLU6, False),
    "relu6_function": (F.relu6, False),
    "wrapped": (ModuleOverFunction, False),
    "subclass": (SubclassedReLU, False),
    "relu_then_dropout2d": (NoisyTrainReLU, True),
    "clamp_module": (HomemadeReLU, False),
    "clamp_min": (lambda x: torch.clamp_min(x, 0), False),
    "hardtanh": (lambda x: F.hardtanh(x, 0.0, 6.0), False),
    "threshold": (lambda x: F.threshold(x, 0.0, 0.0), False),
    "threshold_module": (nn.Threshold(0.0, 0.0), False),
    "maximum": (lambda x: torch.maximum(x, torch.zeros_like(x)), False),
    "times_sign": (lambda x: x * (x > 0), False),
}

# The head: from the last map (4x4) to the classifier's input.


class FlattenGrid(nn.Module):
    """No pooling: the classifier sees every pixel of the last map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class MeanAndMax(nn.Module):
    """Average and maximum side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 1)], 1).flatten(1)


class PowerMean(nn.Module):
    """Generalised mean with a learned exponent."""

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x.clamp(min=1e-6).pow(self.p), 4).pow(1.0 / self.p).flatten(1)


def _unpack(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, c, h * w).mean(2)


def _unpack_size(x: Tensor) -> Tensor:
    b, c, _, _ = x.size()
    return F.adaptive_avg_pool2d(x, 1).view(b, c)


HEADS: dict[str, object] = {
    "mean_list": lambda x: x.mean([2, 3]),
    "mean_negative": lambda x: x.mean((-2, -1)),
    "mean_twice": lambda x: x.mean(3).mean(2),
    "mean_keepdim": lambda x: x.mean((2, 3), keepdim=True).flatten(1),
    "torch_mean": lambda x: torch.mean(x, dim=(2, 3)),
    "sum_over_area": lambda x: x.sum((2, 3)) / 16,
    "amax": lambda x: x.amax((2, 3)),
    "flatten_then_mean": lambda x: x.flatten(2).mean(-1),
    "unpack_shape": _unpack,
    "unpack_size": _unpack_size,
    "avg_pool_number": lambda x: F.avg_pool2d(x, 4).view(x.size(0), -1),
    "avg_pool_size": lambda x: F.avg_pool2d(x, x.size(3)).view(x.size(0), -1),
    "avg_pool_slice": lambda x: F.avg_pool2d(x, x.size()[2:]).flatten(1),
    "avg_pool_keyword": lambda x: F.avg_pool2d(x, kernel_size=x.shape[-1]).flatten(1),
    "reshape": lambda x: F.adaptive_avg_pool2d(x, 1).reshape(x.shape[0], -1),
    "reshape_shapes": lambda x: F.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], x.shape[1]),
    "view_len": lambda x: F.adaptive_avg_pool2d(x, 1).view(len(x), -1),
    "view_channels": lambda x: F.adaptive_avg_pool2d(x, 1).view(-1, 24),
    "squeeze_twice": lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "squeeze_all": lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(),
    "index": lambda x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0],
    "modules": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "avg_pool_module": nn.Sequential(nn.AvgPool2d(4), nn.Flatten(1)),
    "adaptive_max": nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    "contiguous": lambda x: F.avg_pool2d(x, 4).contiguous().view(x.shape[0], -1),
    "permute_last": lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
    "einsum": lambda x: torch.einsum("nchw->nc", x) / 16,
    "flatten_grid": FlattenGrid,
    "mean_and_max": MeanAndMax,
    "power_mean": PowerMean,
    "logsumexp": lambda x: torch.logsumexp(x, (2, 3)),
}


class Functional(nn.Module):
    """Weights in a ParameterDict, convolutions as functions."""

    def __init__(self):
        super().__init__()
        shapes = {"a": (8, 3, 3, 3), "b": (8, 8, 3, 3), "c": (8, 8, 3, 3), "d": (8, 8, 3, 3)}
        self.p = nn.ParameterDict({k: nn.Parameter(torch.randn(*v) / 9) for k, v in shapes.items()})
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.p["a"], padding=1))
        y = F.relu(F.conv2d(x, self.p["b"], padding=1))
        x = F.relu(F.conv2d(y, self.p["c"], padding=1) + x)
        return self.fc(F.conv2d(x, self.p["d"]).mean((2, 3)))


def _net(**parts: object) -> Callable[[tuple[int, ...]], nn.Module]:
    return lambda blocks: IdiomNet(blocks, **parts)  # type: ignore[arg-type]


DIALECTS: list[Dialect] = [
    *(family(f"add_{name}", _net(add=add, relu=nn.ReLU)) for name, add in ADDITIONS.items()),
    *(
        family(f"relu_{name}", _net(relu=relu), stochastic=drop)
        for name, (relu, drop) in RELUS.items()
    ),
    *(family(f"head_{name}", _net(head=head)) for name, head in HEADS.items()),
    Dialect("idiom_functional_weights", Functional, (3, 16, 16), 1, (1,), convs_kept=4),
]
