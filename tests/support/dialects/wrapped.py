"""Ordinary networks in unusual states: wrapped, half, training, hooked, frozen, moved."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from .cifar_resnet import CifarResNet, projection, slice_pad_end
from .dialect import Dialect
from .variants import PartsNet, biased
from .wide import EqualInOutWRN

SHAPE, BLOCKS = (3, 16, 16), (2, 2, 2)


def base() -> nn.Module:
    return CifarResNet(BLOCKS, projection)


def data_parallel() -> nn.Module:
    return nn.DataParallel(base())


class Wrapper(nn.Module):
    """The classifier inside a training module that also owns a loss and a metric."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.criterion = model, nn.CrossEntropyLoss()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, x: Tensor, y: Tensor) -> Tensor:
        return self.criterion(self(x), y)


class Normalised(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.mean = nn.Parameter(torch.full((3, 1, 1), 0.1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(F.normalize(x, dim=1) * 3 - self.mean)


def compiled() -> nn.Module:
    """Compiled with the eager backend: what matters is the wrapper, not the code behind it."""
    return torch.compile(base(), backend="eager")  # type: ignore[return-value]


def compiled_in_place() -> nn.Module:
    model = base()
    model.compile(backend="eager")
    return model


def train_mode() -> nn.Module:
    return EqualInOutWRN(BLOCKS, drop_rate=0.3).train()


def mixed_mode() -> nn.Module:
    """Training, but with the norms of the first group in eval mode."""
    model = base().train()
    for module in model.layer1.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def frozen() -> nn.Module:
    return base().requires_grad_(False)


def hooked() -> nn.Module:
    """Forward hooks and pre-hooks that only look, a gradient hook on a parameter."""
    model = base()
    seen: list[tuple[int, ...]] = []
    for module in model.modules():
        module.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape)))
    model.layer1.register_forward_pre_hook(lambda m, i: None)
    model.linear.weight.register_hook(lambda g: g)
    return model


def with_gradients() -> nn.Module:
    """Parameters that already have a gradient, which must stay theirs."""
    model = base()
    model(torch.ones(2, *SHAPE)).sum().backward()
    return model


def half() -> nn.Module:
    return base().half()


def channels_last() -> nn.Module:
    return base().to(memory_format=torch.channels_last)


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PartsNet(BLOCKS, lambda *a: nn.utils.weight_norm(biased(*a)))


def masked() -> nn.Module:
    """Unstructured pruning by masks (`weight_orig`, `weight_mask`)."""
    model = base()
    prune.l1_unstructured(model.layer1[0].conv1, "weight", amount=0.5)
    prune.l1_unstructured(model.layer3[1].conv2, "weight", amount=0.5)
    return model


def unused_parts() -> nn.Module:
    """Modules that forward never calls: an auxiliary head, a projector."""
    model = base()
    model.aux = nn.Sequential(nn.Conv2d(16, 8, 3), nn.Linear(8, 10))
    model.projector = nn.Linear(32, 4)
    return model


def shared_norm_parameters() -> nn.Module:
    """Two groups' classifier weights are fine, but two norms share one parameter."""
    model = base()
    model.layer1[1].bn1.weight = model.layer1[0].bn1.weight
    return model


def _state(name: str, build, **options: object) -> Dialect:
    options = {"convs_kept": 9, **options}
    return Dialect(f"state_{name}", build, SHAPE, 3, BLOCKS, **options)  # type: ignore[arg-type]


DIALECTS: list[Dialect] = [
    _state("data_parallel", data_parallel),
    _state("wrapper", lambda: Wrapper(base())),
    _state("wrapper_twice", lambda: nn.DataParallel(Wrapper(base()))),
    _state("normalised", lambda: Normalised(CifarResNet(BLOCKS, slice_pad_end)), convs_kept=7),
    _state("in_sequential", lambda: nn.Sequential(nn.Identity(), base())),
    _state("compiled", compiled),
    _state("compiled_in_place", compiled_in_place),
    _state("train_mode", train_mode, convs_kept=10, settle=False, stochastic=True),
    _state("mixed_mode", mixed_mode, settle=False),
    _state("frozen", frozen),
    _state("hooked", hooked),
    _state("with_gradients", with_gradients),
    _state("half", half, dtype=torch.float16),
    _state("bfloat16", lambda: base().bfloat16(), dtype=torch.bfloat16),
    _state("double", lambda: base().double(), dtype=torch.float64),
    _state("channels_last", channels_last),
    _state("weight_norm_hook", old_weight_norm),
    _state("masked", masked),
    _state("unused_parts", unused_parts),
    _state("shared_norm_parameters", shared_norm_parameters),
]
