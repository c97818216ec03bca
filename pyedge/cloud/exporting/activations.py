"""Activations: what each is in torch, and how it is translated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, fx

from pyedge.cloud.exporting.registry import Named, computes, translates
from pyedge.cloud.graph import nodes
from pyedge.student.operators import Node

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering import Lowering


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
