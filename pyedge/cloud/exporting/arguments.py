"""The arguments of a call in a torch graph: by name, constants as their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from pyedge.cloud.graph.nodes import shape_of

Constants = Mapping[fx.Node, Any]


def given(constants: Constants, node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of a call by the names of the parameters."""
    arguments = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return {name: resolved(constants, value) for name, value in arguments.items()}


def resolved(constants: Constants, value: Any) -> Any:
    """Put the values of constant nodes into an argument, at any depth."""
    return fx.node.map_aggregate(
        value, lambda leaf: constants.get(leaf, leaf) if isinstance(leaf, fx.Node) else leaf
    )


def numpy_of(tensor: torch.Tensor) -> NDArray[np.float32]:
    """Copy a tensor into a float32 array."""
    return np.array(tensor.detach().to(torch.float32).cpu().numpy(), order="C")


def channel_constant(constants: Constants, node: fx.Node, value: Any) -> NDArray[np.float64] | None:
    """Return an operand of `node` as a number for all channels, [], or one for each, [c].

    None for anything else, such as a map.
    """
    value = resolved(constants, value)
    if isinstance(value, (int, float)):
        return np.array(value, np.float64)
    if not isinstance(value, torch.Tensor):
        return None
    numbers = value.detach().to(torch.float64).cpu().numpy()
    if numbers.size == 1:
        return numbers.reshape(())
    shape = shape_of(node)
    aligned = (1,) * (len(shape) - numbers.ndim) + numbers.shape
    if aligned != (1, shape[1], *(1,) * (len(shape) - 2)):
        return None
    return numbers.ravel()


def pair(value: Any) -> tuple[int, int]:
    """Return a size that torch takes as one number or as two."""
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    first, second = sizes if len(sizes) == 2 else (sizes[0], sizes[0])
    return int(first), int(second)
