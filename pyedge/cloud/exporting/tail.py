"""Lower what comes between the classifier and the logits: a channel pad and an affine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import fx, nn

from pyedge.cloud.graph.answer import after
from pyedge.cloud.graph.nodes import module_of, shape_of
from pyedge.cloud.graph.tail import Tail, find_tail, outside
from pyedge.errors import ExportError

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering

# A file holds no infinity. The softmax of this is 0 as well, and its square fits float64.
MASKED = -1e30
_LAYERS = (nn.Conv2d, nn.Linear)


def lower_tail(lowering: Lowering, last: fx.Node, logits: fx.Node) -> int:
    """Lower the nodes between the classifier, which is lowered already, and the logits.

    Raises ExportError, naming the operator, if one mixes classes, is not linear in the logits, or
    reads something else of the images.
    """
    tail = find_tail(lowering.net, last, logits, lowering.constants)
    if tail is None:
        raise _refusal(lowering, last, logits)
    builder, name = lowering.builder, lowering.name(logits)
    index = lowering.index[last]
    position = _positions(lowering, tail, shape_of(last)[1], logits)
    if position is not None:
        fields = {"position": position, "channels": len(tail.source)}
        index = builder.add("channel_pad", f"{name}.order", [index], **fields)
    if (tail.shift == np.inf).any():
        raise ExportError(f"{lowering.place(logits)} cannot be exported: a logit is infinite")
    shift = np.maximum(tail.shift, MASKED)
    return builder.affine(name, index, tail.scale, shift)


def _positions(lowering: Lowering, tail: Tail, outputs: int, logits: fx.Node) -> np.ndarray | None:
    """Return where each of the classifier's outputs goes among the logits; None if all stay."""
    here = np.arange(len(tail.source))
    if len(here) == outputs and ((tail.source == here) | (tail.source < 0)).all():
        return None
    position = np.full(outputs, -1, np.int32)
    for place, source in enumerate(tail.source):
        if source >= 0 and position[source] >= 0:
            raise ExportError(
                f"{lowering.place(logits)} cannot be exported: logits {position[source]} and "
                f"{place} both come from output {source} of the classifier, "
                f"{lowering.classifier.target}"
            )
        if source >= 0:
            position[source] = place
    return position


def _refusal(lowering: Lowering, last: fx.Node, logits: fx.Node) -> ExportError:
    """Name the first operator after the classifier that a Tail cannot describe."""
    inside = [node for node in after(last, logits) if node is not last]
    foreign = outside(inside, last, lowering.constants)
    if foreign is not None:
        return ExportError(
            f"{lowering.place(foreign)} cannot be exported: it puts together what the classifier, "
            f"{last.target}, gives and something else that the network computes of an image"
        )
    vectors = [node for node in inside if len(shape_of(node)) == 2]
    bad = next(
        (n for n in vectors if find_tail(lowering.net, last, n, lowering.constants) is None), logits
    )
    layers = (n for n in inside[: inside.index(bad) + 1] if isinstance(module_of(n), _LAYERS))
    bad = next(layers, bad)  # the layer, and not what only shapes its result
    return ExportError(
        f"{lowering.place(bad)} cannot be exported: behind the classifier, {last.target}, a "
        "student file has scales, shifts, masks and another order of the classes, and a softmax "
        "or its logarithm at the very end; this operator does something else with the logits"
    )
