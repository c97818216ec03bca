"""Which parts of a network learn: set for a run, and restored afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyedge.cloud.graph.modes import with_gradients


def trainable_modules(model: nn.Module, trainable: str | Sequence[str]) -> tuple[str, ...] | None:
    """Return the names of the modules that learn; None stands for all of them.

    "last_conv" is the last convolution of each group and the classifier (Sec. 4.1), which a student
    knows. Raises ValueError for a network that does not know them, or has no module of a name.
    """
    if trainable == "all":
        return None
    if trainable == "last_conv":
        convs = getattr(model, "last_convs", None)
        classifier = getattr(model, "classifier", None)
        if not isinstance(convs, (tuple, list)) or not isinstance(classifier, str):
            raise ValueError(
                'trainable="last_conv" needs a student of pyedge.compress, which knows its last '
                f"convolutions and its classifier; {type(model).__name__} does not. Pass the names "
                "of the modules that are to learn"
            )
        return (*convs, classifier)
    known = {name for name, _ in model.named_modules()}
    for name in trainable:
        if name not in known:
            raise ValueError(f"trainable: {type(model).__name__} has no module named {name!r}")
    return tuple(trainable)


def modules_behind(
    model: nn.Module, trainable: str | Sequence[str], output: Callable[[nn.Module], Tensor]
) -> tuple[str, ...]:
    """Return the modules, among those of `trainable`, whose parameters affect `output(model)`.

    A loss on inner maps alone has no gradient for the layers after them. Their parameters must not
    require one: data-parallel training would wait for it. Runs a copy in evaluation mode. Raises
    ValueError if none is left.
    """
    allowed = trainable_modules(model, trainable)
    probe = copy.deepcopy(model).eval().requires_grad_(True)
    named = dict(probe.named_parameters())
    with with_gradients():
        felt_by = torch.autograd.grad(output(probe).sum(), list(named.values()), allow_unused=True)
    felt = {
        name.rpartition(".")[0]
        for name, gradient in zip(named, felt_by, strict=True)
        if gradient is not None
    }
    if allowed is not None:
        felt = {m for m in felt if any(m == a or m.startswith(f"{a}.") for a in allowed)}
    if not felt:
        raise ValueError(f"trainable={trainable!r} leaves nothing that this loss can train")
    return tuple(sorted(felt))


@contextmanager
def only_trainable(model: nn.Module, trainable: str | Sequence[str]) -> Iterator[None]:
    """Make only the parameters of `trainable` require gradients, then restore all flags and modes.

    With "all" the flags stay as the caller set them. Raises ValueError if nothing is left to train.
    """
    names = trainable_modules(model, trainable)
    flags = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(m, m.training) for m in model.modules()]
    try:
        if names is not None:
            model.requires_grad_(False)
            for name in names:
                model.get_submodule(name).requires_grad_(True)
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError(f"trainable={trainable!r} leaves no parameter to train")
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            parameter.grad = None
        for module, mode in modes:
            module.training = mode


def training_mode(model: nn.Module, batch_norm: str) -> None:
    """Put the network into training mode; with "frozen", its batch norm into evaluation mode."""
    model.train()
    if batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def set_layout(model: nn.Module, layout: torch.memory_format) -> None:
    """Change the memory layout of the convolutions' weights, but not their values."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


@contextmanager
def teaching_mode(teacher: nn.Module, batch_norm: str) -> Iterator[None]:
    """Put the teacher into evaluation mode, then restore every mode.

    With "batch" its batch norm uses the statistics of the batch, as in the authors' runs; the
    running statistics do not change.
    """
    modes = [(m, m.training) for m in teacher.modules()]
    tracking = [(m, m.track_running_stats) for m in teacher.modules() if isinstance(m, _BatchNorm)]
    try:
        teacher.eval()
        if batch_norm == "batch":
            for norm, _ in tracking:
                norm.train()
                norm.track_running_stats = False  # leaves the running statistics untouched
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for norm, tracks in tracking:
            norm.track_running_stats = tracks
