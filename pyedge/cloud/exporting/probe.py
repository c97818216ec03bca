"""Find out what a stretch of unknown operators computes, by running it on noise.

There is no end of spellings of a global pool (`x.mean(3).mean(2)`, `einsum("nchw->nc", x) / 16`,
`x.view(n, c, -1).mean(2)`), but they compute one of a few things. A stretch is lowered only if the
result gives the same numbers on noise of two very different scales.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from pyedge.cloud.graph.nodes import shape_of

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering

_NOISE = (3.0, 1000.0)  # a clamp at 100 shows in the second, one at 1e-3 in the first
_FACTOR_SPREAD = 1e-5  # float32 sums of a few thousand numbers, added in another order


def stretch(lowering: Lowering, node: fx.Node) -> tuple[list[fx.Node], list[fx.Node]]:
    """Return the nodes from the last lowered one up to `node`, in order, and what they read."""
    inside, sources, stack = {node}, set(), [node]
    while stack:
        for source in stack.pop().all_input_nodes:
            if source in lowering.constants or source in inside:
                continue
            if source in lowering.index:
                sources.add(source)
            else:
                inside.add(source)
                stack.append(source)
    order = list(lowering.net.graph.nodes)
    return [n for n in order if n in inside], [n for n in order if n in sources]


def lower_stretch(lowering: Lowering, node: fx.Node) -> int | None:
    """Lower `node` with the unknown operators before it; None if they compute nothing known.

    Only stretches that give a map n c h w or a vector n f are tried.
    """
    inside, sources = stretch(lowering, node)
    shape = shape_of(node)
    if len(sources) != 1 or len(shape) not in (2, 4):
        return None
    source = sources[0]
    seen = []
    for place, size in enumerate(_NOISE):
        generator = torch.Generator().manual_seed(place)
        noise = size * torch.randn(source.meta["shape"], generator=generator).float()
        seen.append((noise, _values(lowering, inside, source, noise)))
    if not all(isinstance(result, Tensor) for _, result in seen):
        return None
    for kind in _KINDS:
        factors = [_factor(expected, got) for expected, got in _expected(kind, seen, shape)]
        if len(factors) == len(seen) and None not in factors:
            first, second = (float(factor) for factor in factors if factor is not None)
            if abs(first - second) <= _FACTOR_SPREAD * abs(first):
                return _lowered(lowering, kind, node, source, first)
    return None


def _values(lowering: Lowering, inside: list[fx.Node], source: fx.Node, noise: Tensor) -> Any:
    """Run the nodes of a stretch with noise in place of its source."""
    interpreter = fx.Interpreter(lowering.net)
    interpreter.env = {**lowering.constants, source: noise}
    with torch.no_grad():
        for node in inside:
            interpreter.env[node] = interpreter.run_node(node)
    return interpreter.env[inside[-1]]


_KINDS = {
    "same": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "flat": lambda x: x.flatten(1),
    "mean": lambda x: x.mean((2, 3)),
    "max": lambda x: x.amax((2, 3)),
}


def _expected(
    kind: str, seen: list[tuple[Tensor, Tensor]], shape: tuple[int, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    for noise, got in seen:
        if kind in ("mean", "max") and noise.dim() != 4:
            return
        expected = _KINDS[kind](noise)
        if kind in ("mean", "max") and len(shape) == 4:
            expected = expected[:, :, None, None]
        if kind == "flat" and expected.shape != got.shape and expected.dim() == 2:
            expected = expected[:, :, None, None]  # a vector seen as a map of one pixel
        if expected.shape != got.shape:
            return
        yield expected, got


def _factor(expected: Tensor, got: Tensor) -> float | None:
    """Return the factor from `expected` to `got`; None if there is none."""
    if torch.equal(expected, got):
        return 1.0
    expected, got = expected.double(), got.double()
    factor = float((expected * got).sum() / (expected * expected).sum())
    # means are near zero here and there: errors are measured against the typical number
    tolerance = _FACTOR_SPREAD * float(got.square().mean().sqrt())
    close = bool(((factor * expected - got).abs() <= tolerance).all())
    return factor if close and factor else None


def _lowered(
    lowering: Lowering, kind: str, node: fx.Node, source: fx.Node, factor: float
) -> int | None:
    builder, name = lowering.builder, lowering.name(node)
    index = lowering.index[source]
    shape = builder.shape(index)
    if kind in ("relu", "relu6"):
        index = builder.add(kind, name, [index])
    elif kind == "flat" and shape[1:] not in ((), (1, 1)):
        index = builder.add("flatten", name, [index])
    elif kind in ("mean", "max") and shape[1:] != (1, 1):
        window = (shape[1], shape[2])
        index = builder.pool(
            "avg_pool" if kind == "mean" else "max_pool", name, index, window, window
        )
    nearest = round(factor)
    exact = nearest if nearest and abs(factor - nearest) <= _FACTOR_SPREAD * nearest else factor
    return builder.affine(f"{name}.scale", index, exact, 0.0)
