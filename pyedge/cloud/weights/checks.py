"""Weights that networks cannot compute with: NaN, infinity, negative variances, no values."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

Named = tuple[str, Tensor]


def check_weights(function: str, argument: str, model: nn.Module) -> None:
    """Raise ValueError if parameters or buffers of `model` hold values that cannot be used.

    The message begins with `function: argument` and names the first tensor. Infinity is allowed in
    buffers that are not running statistics, such as an attention mask. Lazy parameters, which have
    no shape yet, are skipped.
    """
    found = first_fault(
        (*_own_names(model, model.named_parameters()), *_own_names(model, model.named_buffers())),
        buffers={name for name, _ in _own_names(model, model.named_buffers())},
    )
    if found is not None:
        raise ValueError(f"{function}: {argument} {found}")


def check_float32(function: str, argument: str, model: nn.Module, *also: torch.dtype) -> None:
    """Raise TypeError for a network whose weights are not float32 (or of a dtype in `also`)."""
    for name, value in model.named_parameters():
        if value.dtype not in (torch.float32, *also):
            raise TypeError(
                f"{function}: {argument}: wanted float32 weights, {name} is "
                f"{dtype_name(value)}: {argument}.float() makes it so (and precision= computes in "
                "16 bits if that helps)"
            )


def is_float32(model: nn.Module) -> bool:
    """Tell whether all floats of a network, buffers included, are float32."""
    return all(
        value.dtype == torch.float32
        for values in (model.parameters(), model.buffers())
        for value in values
        if value.is_floating_point()
    )


def first_fault(named: Iterable[Named], buffers: Iterable[str] = ()) -> str | None:
    """Say what is wrong with the first faulty tensor, and how many more there are; None if none.

    buffers: names of the tensors that may hold infinity unless they are running statistics.
    """
    free = {name for name in buffers if not name.endswith(("running_mean", "running_var"))}
    first, others = None, 0
    for name, value in named:
        fault = _fault(name, value, infinity=name in free)
        if fault is not None and first is not None:
            others += 1
        first = first or fault
    if first is None or not others:
        return first
    return f"{first}, and {others} other tensor{'s are' if others > 1 else ' is'} like that"


def like_weights(x: Tensor, model: nn.Module) -> Tensor:
    """Return a batch of floats in the dtype of the network's first weights; others unchanged."""
    weights = next((p for p in model.parameters() if p.is_floating_point()), None)
    return x if weights is None or not x.is_floating_point() else x.to(weights.dtype)


def dtype_name(tensor: Tensor) -> str:
    """Write a tensor's dtype as numpy does: float16."""
    return str(tensor.dtype).removeprefix("torch.")


def _own_names(model: nn.Module, named: Iterable[Named]) -> list[Named]:
    tapped = getattr(model, "is_tapped", False)  # a view of the user's network, under net.
    return [(name.removeprefix("net.") if tapped else name, value) for name, value in named]


def _fault(name: str, value: Tensor, infinity: bool) -> str | None:
    if nn.parameter.is_lazy(value):
        return None
    if value.is_meta:
        return f"has no values in {name}, which is on the meta device"
    if not (value.is_floating_point() or value.is_complex()) or not value.numel():
        return None
    value = value.detach()
    if value.is_sparse:
        value = value.coalesce().values()
    if value.dtype.itemsize == 1:  # float8 knows no isfinite
        value = value.float()
    bad = value.isnan() if infinity else ~value.isfinite()
    if bad.any():
        nan = int(value.isnan().sum())
        what = "infinity" if not nan else "NaN" if nan == int(bad.sum()) else "NaN and infinity"
        return f"holds {what} in {name} ({int(bad.sum())} of {value.numel()} values)"
    if name.endswith("running_var") and bool((value < 0).any()):
        count = int((value < 0).sum())
        return f"holds negative variances in {name} ({count} of {value.numel()} values)"
    return None
