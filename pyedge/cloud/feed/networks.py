"""The network that a function is given: a module with weights, or a mistake in its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pyedge.cloud.weights.checks import check_weights


def check_network(model: Any, title: str, argument: str = "model") -> None:
    """Refuse anything but a network, and weights that cannot be computed with.

    Raises as `check_module` and `check_weights`.
    """
    check_module(model, title, argument)
    check_weights(title, argument, model)


def check_module(model: Any, title: str, argument: str = "model") -> None:
    """Refuse anything but a network, and say what to do.

    Raises TypeError for anything but an nn.Module, ValueError for one with lazy layers that have
    not seen an image.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{title}: {argument}: wanted a torch.nn.Module, got {_given(model)}")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(value):
            raise ValueError(
                f"{title}: {argument} has lazy layers ({name}); run it on one batch of images first"
            )


def _given(model: Any) -> str:
    if isinstance(model, Mapping):
        if model and all(isinstance(value, torch.Tensor) for value in model.values()):
            return "a state_dict, which holds weights alone; build the network and load them"
        return f"a {type(model).__name__} with {', '.join(map(repr, list(model)[:6])) or 'no keys'}"
    if isinstance(model, (str, os.PathLike)):
        return f"{type(model).__name__} {str(model)!r}; pass the network itself"
    if isinstance(model, type):
        return f"the class {model.__name__}; call it to make a network"
    return type(model).__name__


def check_apart(student: nn.Module, teacher: nn.Module, title: str) -> None:
    """Refuse a teacher that shares weights with the student: it would change while it teaches.

    Raises ValueError.
    """
    mine = {id(parameter): name for name, parameter in student.named_parameters()}
    for name, parameter in teacher.named_parameters():
        if id(parameter) in mine:
            raise ValueError(
                f"{title}: teacher: wanted no weights of the student's, got {name}, which is "
                f"{mine[id(parameter)]} of the student; pass copy.deepcopy of one"
            )
