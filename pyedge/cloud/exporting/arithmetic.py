"""Sums, products, and concatenation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, fx

from pyedge.cloud.exporting.arguments import channel_constant, given
from pyedge.cloud.exporting.registry import Named, computes, translates
from pyedge.cloud.graph.nodes import shape_of
from pyedge.student.operators import Node

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering

_SUM = ("input", "other", "alpha")


@translates("add")
def add(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """a + b, torch.add(a, b, alpha=2)."""
    return _sum(lowering, node, 1.0)


@translates("sub")
def sub(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """a - b."""
    return _sum(lowering, node, -1.0)


def _sum(lowering: Lowering, node: fx.Node, sign: float) -> int | None:
    if len(node.args) < 2:
        return None
    builder, name = lowering.builder, lowering.name(node)
    alpha = sign * float(given(lowering.constants, node, _SUM).get("alpha", 1))
    first, second = (_Operand.of(lowering, node, arg) for arg in node.args[:2])
    if first.index is not None and second.constant is not None:
        return builder.affine(name, first.index, 1.0, alpha * second.constant)
    if first.constant is not None and second.index is not None:
        return builder.affine(name, second.index, alpha, first.constant)
    if first.index is None or second.index is None:
        return None
    if first.index == second.index:
        return builder.affine(name, first.index, 1 + alpha, 0.0)
    scaled = builder.affine(f"{name}.scale", second.index, alpha, 0.0)
    return builder.add("add", name, [first.index, scaled])


@translates("mul", "multiply")
def mul(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """A map times a constant, another map, or a gate: a number for each channel of an image."""
    builder, name = lowering.builder, lowering.name(node)
    first, second = (_Operand.of(lowering, node, arg) for arg in node.args[:2])
    sides = ((first, node.args[1], second), (second, node.args[0], first))
    for one, _, other in sides:
        if one.index is not None and other.constant is not None:
            return builder.affine(name, one.index, other.constant, 0.0)
    for one, arg, other in sides:
        factor = other.index if other.index is not None else _gate(lowering, node, arg)
        if one.index is not None and factor is not None:
            return builder.add("multiply", name, [one.index, factor])
    return None


# what only shapes a gate: n c to n c 1 1, or to the map's size
_SHAPING = ("view", "reshape", "expand", "expand_as", "unsqueeze", "getitem")


def _gate(lowering: Lowering, node: fx.Node, arg: Any) -> int | None:
    """Return the lowered vector, or map of one pixel, that is a number a channel of `node`."""
    if not isinstance(arg, fx.Node) or len(shape_of(node)) != 4:
        return None
    n, c = shape_of(node)[:2]
    while arg not in lowering.index:
        name = getattr(arg.target, "__name__", arg.target)
        # from n c and n c 1 1 alone, so that each number stays with its channel
        before = arg.all_input_nodes[0] if arg.all_input_nodes else arg
        if name not in _SHAPING or shape_of(before) not in ((n, c), (n, c, 1, 1)):
            return None
        if shape_of(arg)[:2] != (n, c):
            return None
        arg = before
    shape = lowering.builder.shape(lowering.index[arg])
    return lowering.index[arg] if shape in ((c,), (c, 1, 1)) else None


@translates("truediv", "div")
def div(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """A map over a constant."""
    first, second = (_Operand.of(lowering, node, arg) for arg in node.args[:2])
    if first.index is None or second.constant is None or node.kwargs.get("rounding_mode"):
        return None
    if (second.constant == 0).any():
        raise ValueError("it divides by zero")
    return lowering.builder.affine(lowering.name(node), first.index, 1 / second.constant, 0.0)


@translates("neg")
def neg(lowering: Lowering, node: fx.Node, source: int) -> int:
    """-a."""
    return lowering.builder.affine(lowering.name(node), source, -1.0, 0.0)


class _Operand:
    """A lowered map of the shape of the result, or a constant, or neither."""

    def __init__(self, index: int | None, constant: Any) -> None:
        self.index = index
        self.constant = constant

    @classmethod
    def of(cls, lowering: Lowering, node: fx.Node, arg: Any) -> _Operand:
        constant = channel_constant(lowering.constants, node, arg)
        lowered = isinstance(arg, fx.Node) and arg in lowering.index
        if constant is not None or not lowered or shape_of(arg) != shape_of(node):
            return cls(None, constant)
        return cls(lowering.index[arg], None)


@translates("cat", "concat")
def cat(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """Maps side by side: a channel pad of each to the whole width, and their sum."""
    found = given(lowering.constants, node, ("tensors", "dim"))
    parts = list(found["tensors"])
    if found.get("dim", 0) not in (1, 1 - len(shape_of(node))):
        return None
    if not all(isinstance(part, fx.Node) and part in lowering.index for part in parts):
        return None
    builder, name = lowering.builder, lowering.name(node)
    places = [lowering.index[part] for part in parts]
    if any(len(builder.shape(place)) != 3 for place in places):
        return None
    width = sum(builder.shape(place)[0] for place in places)
    total, start = -1, 0
    for place in places:
        end = start + builder.shape(place)[0]
        position = np.arange(start, end, dtype=np.int32)
        fields = {"position": position, "channels": width}
        index = builder.add("channel_pad", f"{name}.part", [place], **fields)
        total = index if total < 0 else builder.add("add", name, [total, index])
        start = end
    return total


@computes("multiply")
def _multiply(node: Node, arrays: Named, x: Tensor, factor: Tensor) -> Tensor:
    return x * (factor[:, :, None, None] if factor.dim() < x.dim() else factor)


@computes("add")
def _add(node: Node, arrays: Named, x: Tensor, y: Tensor) -> Tensor:
    return x + y
