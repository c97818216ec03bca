"""What comes between the classifier and the logits: a scale, a shift and a place for each class.

Masks, logit adjustments, temperatures, reorderings, bias corrections and batch norm have many
spellings (`where`, `masked_fill`, `cat` of slices, a product with a buffer), but all compute
logits[:, j] = scale[j] * z[:, source[j]] + shift[j], with z the classifier's outputs. The numbers
are found by running the nodes on unit vectors, and accepted if they hold on noise.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from pyedge.cloud.graph.answer import after
from pyedge.cloud.graph.modes import evaluating
from pyedge.cloud.graph.nodes import shape_of
from pyedge.cloud.graph.rewrite import InDouble

_STEP = 64.0  # a power of two: dividing by it is exact
_NOISE = (3.0, 1000.0)  # a clamp at 100 shows in the second, one at 1e-3 in the first
# relative errors that rounding explains: in float64, or where something insists on it, in float32
_PRECISIONS = ((torch.float64, 1e-9), (torch.float32, 1e-4))


@dataclass(frozen=True)
class Tail:
    """logits[:, j] = scale[j] * z[:, source[j]] + shift[j]; a constant where source[j] is -1."""

    source: NDArray[np.int64]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def find_tail(
    net: fx.GraphModule, last: fx.Node, logits: fx.Node, constants: Mapping[fx.Node, Any]
) -> Tail | None:
    """Return what comes between two nodes of `net`, or None if a Tail cannot express it.

    last: the classifier's node, [n, c]. logits: [n, classes], reached from there. constants: the
    values of the nodes that no pixel reaches.
    """
    inside = [node for node in after(last, logits) if node is not last]
    if len(shape_of(last)) != 2 or not inside:
        return None
    if outside(inside, last, constants) is not None:
        return None
    for dtype, tolerance in _PRECISIONS:
        try:
            runs = _Runs(net, inside, last, constants, dtype)
            with evaluating(runs.net), torch.no_grad():
                return _measured(runs, tolerance)
        except (RuntimeError, TypeError):  # an operator that does not take this dtype
            continue
    return None


def outside(
    inside: Sequence[fx.Node], last: fx.Node, constants: Mapping[fx.Node, Any]
) -> fx.Node | None:
    """Return the first node that reads the images other than through the classifier's outputs."""
    known = {last, *inside, *constants}
    return next((n for n in inside if not known.issuperset(n.all_input_nodes)), None)


class _Runs:
    """Run the nodes of a tail on numbers in place of the classifier's outputs."""

    def __init__(
        self,
        net: fx.GraphModule,
        inside: Sequence[fx.Node],
        last: fx.Node,
        constants: Mapping[fx.Node, Any],
        dtype: torch.dtype,
    ) -> None:
        self.net = copy.deepcopy(net).cpu().to(dtype)
        self.inside, self.last, self.dtype = inside, last, dtype
        self.n, self.c = shape_of(last)
        self.constants = {node: _as(value, dtype) for node, value in constants.items()}

    def __call__(self, z: Tensor) -> Tensor:
        """Return the logits for z [m, c], as many rows at a time as the graph was measured with."""
        short = -len(z) % self.n
        padded = torch.cat([z, z.new_zeros(short, self.c)])
        found = torch.cat([self._one(part) for part in padded.split(self.n)])
        return found[: len(z)].double()

    def _one(self, z: Tensor) -> Tensor:
        interpreter = fx.Interpreter(self.net)
        interpreter.env = {**self.constants, self.last: z}
        with InDouble() if self.dtype == torch.float64 else nullcontext():
            for node in self.inside:
                interpreter.env[node] = interpreter.run_node(node)
        found = interpreter.env[self.inside[-1]]
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != self.n:
            raise TypeError("no logits")
        return found


def _as(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_as(each, dtype) for each in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.cpu().to(dtype)
    return value.cpu() if isinstance(value, Tensor) else value


def _measured(runs: _Runs, tolerance: float) -> Tail | None:
    shift = runs(torch.zeros(1, runs.c, dtype=runs.dtype))[0]
    source = torch.full(shift.shape, -1)
    scale = torch.zeros_like(shift)
    masked = shift == -torch.inf
    for start, rows in _unit_vectors(runs):
        slopes = torch.where(masked, 0.0, (runs(rows) - shift) / _STEP)
        if not bool(torch.isfinite(slopes).all()):
            return None
        felt = slopes.abs() > tolerance * (1 + torch.where(masked, 0.0, shift).abs() / _STEP)
        if bool((felt.sum(0) + (source >= 0) > 1).any()):
            return None  # a logit that mixes classes
        rows_felt, columns = felt.nonzero(as_tuple=True)
        source[columns] = rows_felt + start
        scale[columns] = slopes[rows_felt, columns]
    generator = torch.Generator().manual_seed(0)
    for size in _NOISE:
        z = size * torch.randn(runs.n, runs.c, generator=generator, dtype=runs.dtype)
        expected = torch.where(source >= 0, z.double()[:, source], 0.0) * scale + shift
        if not _same(runs(z), expected, tolerance):
            return None
    return Tail(source.numpy(), scale.numpy(), shift.numpy())


def _unit_vectors(runs: _Runs) -> Iterator[tuple[int, Tensor]]:
    """Yield the unit vectors in turn, some thousand numbers at a time."""
    rows = max(1, (1 << 16) // runs.c)
    for start in range(0, runs.c, rows):
        yield start, _STEP * torch.eye(runs.c, dtype=runs.dtype)[start : start + rows]


def _same(got: Tensor, expected: Tensor, tolerance: float) -> bool:
    masked = expected == -torch.inf
    if not bool((masked == (got == -torch.inf)).all()):
        return False
    size = torch.where(masked, 0.0, expected.abs())
    error = torch.where(masked, 0.0, (got - expected).abs())
    return bool((error <= tolerance * (size + 1)).all())
