"""Activations: what each one is in torch, and how it is translated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, fx, nn

from pyedge.cloud.exporting.arguments import given
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
