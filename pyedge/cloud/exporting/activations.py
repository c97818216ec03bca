"""Activations: what each one is in torch, and how it is translated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pyedge.cloud.exporting.arguments import given, numpy_of
from pyedge.cloud.exporting.registry import Named, computes, translates
from pyedge.cloud.graph import nodes
from pyedge.student.operators import Node

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering


@translates(nodes.is_relu)
def relu(lowering: Lowering, node: fx.Node, source: int) -> int:
    """ReLU or ReLU6."""
    op = "relu6" if nodes.is_relu6(node) else "relu"
    return lowering.builder.add(op, lowering.name(node), [source])


@computes("relu", kinks=True)
def _relu(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.relu(x)


@computes("relu6", kinks=True)
def _relu6(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.relu6(x)


@translates(nn.LeakyReLU, "leaky_relu", "leaky_relu_")
def leaky_relu(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.LeakyReLU, F.leaky_relu."""
    found = given(lowering.constants, node, ("input", "negative_slope", "inplace"))
    module: Any = nodes.module_of(node)
    slope = found.get("negative_slope", 0.01) if module is None else module.negative_slope
    return lowering.builder.add("leaky_relu", lowering.name(node), [source], slope=float(slope))


@computes("leaky_relu", kinks=True)
def _leaky_relu(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node["slope"])


@translates(nn.PReLU, "prelu")
def prelu(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """nn.PReLU, F.prelu: a slope for each channel, or one for all."""
    module: Any = nodes.module_of(node)
    if module is None:
        slopes = given(lowering.constants, node, ("input", "weight")).get("weight")
    else:
        slopes = module.weight
    if not isinstance(slopes, Tensor):
        return None
    weight = np.broadcast_to(numpy_of(slopes), lowering.builder.shape(source)[:1])
    return lowering.builder.add("prelu", lowering.name(node), [source], weight=weight)


@computes("prelu", kinks=True)
def _prelu(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.prelu(x, arrays["weight"])


def _curve(lowering: Lowering, node: fx.Node, source: int, op: str) -> int:
    return lowering.builder.add(op, lowering.name(node), [source])


@translates(nn.Sigmoid, "sigmoid", "sigmoid_")
def sigmoid(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.Sigmoid, torch.sigmoid."""
    return _curve(lowering, node, source, "sigmoid")


@computes("sigmoid")
def _sigmoid(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return torch.sigmoid(x)


@translates(nn.Hardsigmoid, "hardsigmoid")
def hard_sigmoid(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.Hardsigmoid, F.hardsigmoid."""
    return _curve(lowering, node, source, "hard_sigmoid")


@computes("hard_sigmoid", kinks=True, smooth="sigmoid")
def _hard_sigmoid(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.hardsigmoid(x)


@translates(nn.SiLU, "silu")
def silu(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.SiLU, F.silu; also called swish."""
    return _curve(lowering, node, source, "silu")


@computes("silu")
def _silu(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.silu(x)


@translates(nn.Hardswish, "hardswish")
def hard_swish(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.Hardswish, F.hardswish."""
    return _curve(lowering, node, source, "hard_swish")


@computes("hard_swish", kinks=True, smooth="silu")
def _hard_swish(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.hardswish(x)


@translates(nn.GELU, "gelu")
def gelu(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.GELU, F.gelu; exactly or by tanh."""
    module: Any = nodes.module_of(node)
    found = given(lowering.constants, node, ("input", "approximate"))
    way = found.get("approximate", "none") if module is None else module.approximate
    return _curve(lowering, node, source, "gelu_tanh" if way == "tanh" else "gelu")


@computes("gelu", "gelu_tanh")
def _gelu(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh" if node["op"] == "gelu_tanh" else "none")
