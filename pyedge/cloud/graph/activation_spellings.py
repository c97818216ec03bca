"""Recognise home-made activations of several operations by what they compute on noise.

MobileNetV3 and EfficientNet are often written with x * sigmoid(x) and x * relu6(x + 3) / 6.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.nodes import inputs_of, module_of, shape_of
from pyedge.cloud.graph.rewrite import noise_like, random_input, replace, values


def _gelu_of_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_KNOWN: dict[Callable[[Tensor], Tensor], tuple[Callable[..., Tensor], dict[str, str]]] = {
    F.silu: (F.silu, {}),
    F.hardswish: (F.hardswish, {}),
    F.hardsigmoid: (F.hardsigmoid, {}),
    F.gelu: (F.gelu, {}),
    _gelu_of_tanh: (F.gelu, {"approximate": "tanh"}),
    F.mish: (F.mish, {}),
    torch.sigmoid: (torch.sigmoid, {}),
}
# the last operation of such a formula, and what may stand inside it
_LAST = {"mul", "div", "truediv", "rtruediv", "reciprocal", "clamp", "hardtanh"}
_INSIDE = _LAST | {
    *("add", "radd", "sub", "rsub", "neg", "pow", "exp", "erf", "tanh", "sigmoid", "softplus"),
    *("relu6", "hardsigmoid", "sqrt", "square"),
}
_MODULES = (nn.Sigmoid, nn.Hardsigmoid, nn.ReLU6, nn.Tanh, nn.Softplus, nn.Hardtanh)
_LONGEST = 12  # operations of a formula
_CLOSE = 1e-5


def recognise_activations(traced: fx.GraphModule) -> None:
    """Replace formulas of one map that are SiLU, hard-swish, GELU, Mish or a (hard) sigmoid.

    What follows the last linear layer is not touched: `answer` reads it as it is.
    """
    above = nodes.immediate_dominators(traced.graph)
    source_of = {}
    every = list(traced.graph.nodes)
    linears = [place for place, node in enumerate(every) if nodes.is_linear(node)]
    for node in every[: linears[-1] if linears else None]:
        if _name(node) in _LAST and len(shape_of(node)) in (2, 4):
            source = _source(node, above)
            if source is not None:
                source_of[node] = source
    if not source_of:
        return
    generator = torch.Generator().manual_seed(0)
    # wide enough that the flat ends of a hard sigmoid are seen
    noise = {s: 4 * noise_like(traced, s, generator) for s in set(source_of.values())}
    seen = values(traced, random_input(traced), noise, set(source_of))
    replaced: dict[fx.Node, fx.Node] = {}
    for node, source in source_of.items():
        for formula, (function, options) in _KNOWN.items():
            wanted = formula(noise[source])
            if wanted.shape == seen[node].shape and bool(
                ((seen[node] - wanted).abs() <= _CLOSE * (1 + wanted.abs())).all()
            ):
                x = replaced.get(source, source)
                replaced[node] = replace(node, "call_function", function, (x,), options)
                break


def _source(node: fx.Node, above: dict[fx.Node, fx.Node | None]) -> fx.Node | None:
    """Return the map of which `node` is a function, number by number; None if there is none."""
    source, found = above.get(node), None
    while source is not None and shape_of(source) == shape_of(node):
        inside = nodes.upstream(node, stop=source)
        if len(inside) > _LONGEST or not all(map(_is_formula, inside)):
            return found
        found = source
        source = above.get(source)
    return found


def _is_formula(node: fx.Node) -> bool:
    if node.op == "get_attr":
        return not inputs_of(node) and shape_of(node) in ((), (1,))
    return isinstance(module_of(node), _MODULES) or _name(node) in _INSIDE


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))
