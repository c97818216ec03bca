"""A private copy of a network: plain leaf weights, no hooks, no wrappers."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pyedge.errors import StructureError

# forward pre-hooks of torch.nn.utils that compute a weight from others before every call
_DERIVING_HOOKS = (BasePruningMethod, SpectralNorm, WeightNorm)


def unwrap(model: nn.Module) -> nn.Module:
    """Take off DataParallel, DistributedDataParallel and torch.compile wrappers.

    Raises TypeError for anything but a module, StructureError for a module without a Python
    forward.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: wanted a torch.nn.Module, got {type(model).__name__}")
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            break
    if isinstance(model, torch.jit.ScriptModule):
        raise StructureError(
            "the network is a compiled TorchScript module, whose Python forward is gone; "
            "pass the nn.Module that it was scripted from"
        )
    if isinstance(model, fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in model.graph.nodes
    ):
        raise StructureError(
            "the network is an exported program (torch.export), whose layers are gone; "
            "pass the nn.Module that it was exported from"
        )
    lazy = [name for name, p in model.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise StructureError(
            f"{lazy[0]} is lazy and not initialised yet; run the network on one batch first"
        )
    return model


def private_copy(model: nn.Module) -> nn.Module:
    """Copy `model` in float32 and eval mode, free of hooks and parametrisations.

    All measuring and cutting happens on the copy, so the caller's network, its mode and its
    hooks are never touched. Weights that are computed from others (weight normalisation, masks)
    are plain parameters in the copy, with their present values.
    """
    model = unwrap(model)
    # deepcopy refuses tensors with a gradient history, such as a masked weight after a forward
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    clone = copy.deepcopy(model, memo)
    for module in clone.modules():
        module._forward_hooks.clear()
        module._backward_hooks.clear()
        _bake_hooked_weights(module)
        _bake_parametrisations(module)
    for parameter in clone.parameters():
        parameter.requires_grad_(True)
    return clone.float().eval()


def _bake_hooked_weights(module: nn.Module) -> None:
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, _DERIVING_HOOKS):
            hook.remove(module)
            del module._forward_pre_hooks[key]


def _bake_parametrisations(module: nn.Module) -> None:
    if not parametrize.is_parametrized(module):
        return
    # deepcopy shares the class that parametrize generated, and removing a parametrisation
    # deletes the property from it: the caller's network would lose its weight
    kind = type(module)
    module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
    for name in list(module.parametrizations):  # type: ignore[arg-type]
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
