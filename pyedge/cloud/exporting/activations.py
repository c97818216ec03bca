"""Activations: what each one is in torch, and how it is translated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pyedge.cloud.exporting.arguments import given, numpy_of
from pyedge.cloud.exporting.registry import Named, Translate, computes, translates
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


# modules and functions of the curves that have no numbers of their own
_CURVES: dict[str, tuple[type[nn.Module] | str, ...]] = {
    "sigmoid": (nn.Sigmoid, "sigmoid", "sigmoid_"),
    "hard_sigmoid": (nn.Hardsigmoid, "hardsigmoid"),
    "silu": (nn.SiLU, "silu"),
    "hard_swish": (nn.Hardswish, "hardswish"),
    "mish": (nn.Mish, "mish"),
}


def _as(op: str) -> Translate:
    return lambda lowering, node, source: lowering.builder.add(op, lowering.name(node), [source])


for _op, _kinds in _CURVES.items():
    translates(*_kinds)(_as(_op))


@computes("sigmoid")
def _sigmoid(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return torch.sigmoid(x)


@computes("hard_sigmoid", kinks=True, smooth="sigmoid")
def _hard_sigmoid(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.hardsigmoid(x)


@computes("silu")
def _silu(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.silu(x)


@computes("hard_swish", kinks=True, smooth="silu")
def _hard_swish(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.hardswish(x)


@translates(nn.GELU, "gelu")
def gelu(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """nn.GELU, F.gelu; exactly or by tanh."""
    module: Any = nodes.module_of(node)
    found = given(lowering.constants, node, ("input", "approximate"))
    way = found.get("approximate", "none") if module is None else module.approximate
    return _as("gelu_tanh" if way == "tanh" else "gelu")(lowering, node, source)


@computes("gelu", "gelu_tanh")
def _gelu(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh" if node["op"] == "gelu_tanh" else "none")


@computes("mish")
def _mish(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.mish(x)


@translates(nn.ELU, "elu", "elu_")
def elu(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """nn.ELU, F.elu."""
    return _elu_of(lowering, node, source, alpha=_alpha(lowering, node))


@translates(nn.CELU, "celu", "celu_")
def celu(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """nn.CELU, F.celu: an ELU whose slope at 0 is 1."""
    alpha = _alpha(lowering, node)
    # beside a number below 0 it would grow without a bound
    if alpha is None or not 1e-3 <= alpha <= 1e3:
        return None
    return _elu_of(lowering, node, source, alpha=alpha, input_scale=1 / alpha)


@translates(nn.SELU, "selu", "selu_")
def selu(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """nn.SELU, F.selu, with the two numbers of its paper (Klambauer et al. 2017)."""
    numbers = {"alpha": 1.6732632423543772, "scale": 1.0507009873554805}
    return _elu_of(lowering, node, source, **numbers)


def _alpha(lowering: Lowering, node: fx.Node) -> float | None:
    module: Any = nodes.module_of(node)
    found = given(lowering.constants, node, ("input", "alpha", "inplace"))
    alpha = found.get("alpha", 1.0) if module is None else module.alpha
    return float(alpha) if isinstance(alpha, (int, float)) else None


def _elu_of(
    lowering: Lowering,
    node: fx.Node,
    source: int,
    *,
    alpha: float | None,
    scale: float = 1.0,
    input_scale: float = 1.0,
) -> int | None:
    if alpha is None:
        return None
    numbers = {"alpha": alpha, "scale": scale, "input_scale": input_scale}
    return lowering.builder.add("elu", lowering.name(node), [source], **numbers)


@computes("elu", kinks=True)
def _elu(node: Node, arrays: Named, x: Tensor) -> Tensor:
    below = node["alpha"] * torch.expm1(node["input_scale"] * x.clamp(max=0))
    return node["scale"] * torch.where(x > 0, x, below)
