"""A graph without the random projection that its classifier reads (`pyedge.student.expansion`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.student.graph import Node

# names the constant of a classifier that had none: it is no part of a student's structure
ADDED_BIAS = ".constant"


class Plain(NamedTuple):
    """A graph as `StudentFile` holds it: nodes, arrays by name, the logits' node, and taps."""

    nodes: tuple[Node, ...]
    arrays: Mapping[str, NDArray[Any]]
    output: int
    taps: tuple[int, ...]


def without_projection(
    nodes: Sequence[Node],
    arrays: Mapping[str, NDArray[Any]],
    output: int,
    taps: tuple[int, ...],
    made: Iterable[str],
) -> Plain:
    """Make the classifier read the features themselves, with weights of 0.

    made: the names of the projections' weights. Before each projection comes the affine that scales
    its input; after it a ReLU and the classifier.
    """
    left, kept = list(nodes), dict(arrays)
    for name in made:
        at = next(i for i, node in enumerate(left) if node.get("weight") == name) - 1
        scale, classifier = left[at], left[at + 3]
        count = len(kept[scale["weight"]])
        for array in (scale["weight"], scale["bias"], name):
            del kept[array]
        rows = len(kept[classifier["weight"]])
        kept[classifier["weight"]] = np.zeros((rows, count), dtype=np.float32)
        moved = [
            {**node, "inputs": [i - 3 if i > at else i for i in node["inputs"]]}
            for node in left[at + 3 :]
        ]
        moved[0]["inputs"] = list(scale["inputs"])
        left[at:] = moved
        output, taps = output - 3, tuple(tap - 3 if tap >= at else tap for tap in taps)
    return Plain(tuple(left), kept, output, taps)
