"""Operators that change the border of a map: paddings and slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import fx, nn

from pyedge.cloud.exporting.arguments import given, resolved
from pyedge.cloud.exporting.registry import translates
from pyedge.cloud.graph.nodes import module_of, shape_of
from pyedge.student.builder import GraphBuilder, Pair

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering

# torch's words and numpy's
_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
PADS: dict[type[nn.Module], str] = {
    nn.ZeroPad2d: "constant",
    nn.ConstantPad2d: "constant",
    nn.ReflectionPad2d: "reflect",
    nn.ReplicationPad2d: "replicate",
    nn.CircularPad2d: "circular",
}


@translates(*PADS)
def pad_module(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """nn.ZeroPad2d and its like."""
    module: Any = module_of(node)
    mode = next(mode for kind, mode in PADS.items() if isinstance(module, kind))
    return _pad(lowering, node, source, module.padding, mode, getattr(module, "value", 0))


@translates("pad")
def pad_function(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """F.pad."""
    found = given(lowering.constants, node, ("input", "pad", "mode", "value"))
    mode, value = found.get("mode", "constant"), found.get("value")
    return _pad(lowering, node, source, found["pad"], mode, value)


def _pad(
    lowering: Lowering, node: fx.Node, source: int, pad: Any, mode: str, value: Any
) -> int | None:
    sizes = [*pad, 0, 0, 0, 0][: max(4, len(pad))]
    if len(shape_of(node)) != 4 or any(sizes[4:]):
        return None
    if mode == "constant" and value:
        raise ValueError(f"it pads with {value}, and a student file can pad only with 0")
    across, down = (int(sizes[0]), int(sizes[1])), (int(sizes[2]), int(sizes[3]))
    if mode != "constant":
        return add_border(lowering.builder, lowering.name(node), source, [down, across], mode)
    even = down[0] == down[1] >= 0 and across[0] == across[1] >= 0
    if even and all(_takes_padding(user) for user in node.users):
        lowering.padding[node] = (down[0], across[0])
        return source
    return lowering.builder.shift(lowering.name(node), source, down, across)


def _takes_padding(node: fx.Node) -> bool:
    conv = module_of(node)
    if not isinstance(conv, nn.Conv2d) or conv.padding_mode != "zeros":
        return False
    return not isinstance(conv.padding, str)


def add_border(builder: GraphBuilder, name: str, source: int, sides: list[Pair], mode: str) -> int:
    """Mirror or repeat the border of a map: (before, after) down and across."""
    rows, columns = (
        np.eye(size)[np.pad(np.arange(size), side, mode=_MODES[mode])]  # type: ignore[call-overload]
        for size, side in zip(builder.shape(source)[1:], sides, strict=True)
    )
    return builder.resample(name, source, rows, columns)


@translates("getitem")
def slices(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """x[:, a:b, c:d:e, f:g:h]: channels are dropped, a border is cut, lines are left out."""
    builder, name = lowering.builder, lowering.name(node)
    parts = _parts(resolved(lowering.constants, node.args[1]))
    shape = builder.shape(source)
    if parts is None or len(shape) != 3 or len(shape_of(node)) != 4:
        return None
    batch, *others = parts
    chosen = [range(*part.indices(size)) for part, size in zip(others, shape, strict=True)]
    if batch != slice(None) or not all(chosen):
        return None
    channels, *lines = chosen
    if channels != range(shape[0]):
        position = np.full(shape[0], -1, np.int32)
        position[list(channels)] = np.arange(len(channels))
        fields = {"position": position, "channels": len(channels)}
        source = builder.add("channel_pad", f"{name}.channels", [source], **fields)
    down, across = (_cut(each, size) for each, size in zip(lines, shape[1:], strict=True))
    source = builder.shift(name, source, down, across)
    return builder.pool(
        "avg_pool", f"{name}.stride", source, (1, 1), (lines[0].step, lines[1].step)
    )


def _cut(lines: range, size: int) -> Pair:
    """How many lines to add (less than zero: to cut) before the first chosen one and after."""
    free = range(lines.start, size, lines.step)
    return -lines.start, 0 if len(free) == len(lines) else lines[-1] + 1 - size


def _parts(index: Any) -> list[slice] | None:
    """The slices n c h w of an index; None if it is anything else."""
    parts = list(index) if isinstance(index, (tuple, list)) else [index]
    if parts.count(Ellipsis) > 1 or len(parts) > 4 + parts.count(Ellipsis):
        return None
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        parts[place : place + 1] = [slice(None)] * (5 - len(parts))
    parts += [slice(None)] * (4 - len(parts))
    return parts if all(isinstance(part, slice) for part in parts) else None
