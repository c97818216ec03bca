"""Run the graph of a student file in torch, operator by operator, as docs/format.md says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pyedge.cloud.exporting.operators import computed
from pyedge.student.operators import Node


def tensors_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Return float arrays as float64 tensors that require gradients, others as int64."""
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    return {
        name: tensor.double().requires_grad_() if tensor.is_floating_point() else tensor.long()
        for name, tensor in tensors.items()
    }


def interpret(nodes: Sequence[Node], arrays: Mapping[str, Tensor], images: Tensor) -> list[Tensor]:
    """Return the output of every node for float images n c h w; batch norm is frozen."""
    values: list[Tensor] = []
    for node in nodes:
        sources = [values[i] for i in node["inputs"]]
        named = {
            field: arrays[value]
            for field, value in node.items()
            if isinstance(value, str) and field not in ("op", "name")
        }
        values.append(
            images if node["op"] == "input" else computed(node["op"]).compute(node, named, *sources)
        )
    return values
