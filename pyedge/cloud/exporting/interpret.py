"""Run the graph of a student file in torch, operator by operator: what docs/format.md says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyedge.student.graph import Node


def tensors_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Return float arrays as float64 tensors that ask for gradients, others as int64."""
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
        values.append(_OPERATORS[node["op"]](node, named, *(sources or [images])))
    return values


Named = Mapping[str, Tensor]


def _conv2d(node: Node, a: Named, x: Tensor) -> Tensor:
    stride, padding, dilation = (list(node[f]) for f in ("stride", "padding", "dilation"))
    weight, bias = a["weight"], a.get("bias")
    return F.conv2d(x, weight, bias, stride, padding, dilation, node["groups"])


def _batch_norm(node: Node, a: Named, x: Tensor) -> Tensor:
    scale = a["weight"] / (a["variance"] + node["eps"]).sqrt()
    return (x - _each(a["mean"], x)) * _each(scale, x) + _each(a["bias"], x)


def _channel_pad(node: Node, a: Named, x: Tensor) -> Tensor:
    stays = a["position"] >= 0
    out = x.new_zeros(len(x), node["channels"], *x.shape[2:])
    return out.index_copy(1, a["position"][stays], x[:, stays])


def _pool(node: Node, a: Named, x: Tensor) -> Tensor:
    kernel, stride, padding = (list(node[f]) for f in ("kernel", "stride", "padding"))
    if node["op"] == "avg_pool":
        return F.avg_pool2d(x, kernel, stride, padding)
    return F.max_pool2d(x, kernel, stride, padding)


def _each(values: Tensor, x: Tensor) -> Tensor:
    """One number a channel, for a map or a vector."""
    return values.view(1, -1, *(1,) * (x.dim() - 2))


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "input": lambda node, a, x: x,
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "affine": lambda node, a, x: x * _each(a["weight"], x) + _each(a["bias"], x),
    "relu": lambda node, a, x: F.relu(x),
    "relu6": lambda node, a, x: F.relu6(x),
    "add": lambda node, a, x, y: x + y,
    "channel_pad": _channel_pad,
    "avg_pool": _pool,
    "max_pool": _pool,
    "global_avg_pool": lambda node, a, x: x.mean((2, 3), keepdim=True),
    "flatten": lambda node, a, x: x.flatten(1),
    "linear": lambda node, a, x: F.linear(x, a["weight"], a.get("bias")),
}
