"""Features: what a student's classifier reads, of any images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyedge.edge.answers import logits_of
from pyedge.edge.images import EdgeImages

if TYPE_CHECKING:
    from pyedge.student import StudentFile

_MOST_WEIGHT_BYTES = 1 << 26


def features_of(student: StudentFile, images: EdgeImages, batch: int) -> NDArray[np.float32]:
    """Return the classifier's input of each image, float32 [n, f], `batch` images at a time.

    Raises ValueError where a number is not finite.
    """
    parts = [
        logits_of(part.engine(), images, batch, width)
        for part, width in _without_classifier(student)
    ]
    found = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    if not np.isfinite(found).all():
        bad = int(np.isfinite(found).all(axis=1).argmin())
        raise ValueError(f"features of image {bad} are not finite")
    return found


def _without_classifier(student: StudentFile) -> Iterator[tuple[StudentFile, int]]:
    """Give students whose outputs, side by side, are the features, each with their number.

    An engine's output has one pixel. A map of several that is flattened comes out by a classifier
    that passes its inputs on, some thousand at a time.
    """
    place = next(i for i, node in enumerate(student.nodes) if node["name"] == student.classifier)
    end = student.nodes[place]["inputs"][0]
    layers = student.layers()
    width = math.prod(layers[end].shape)
    source = end
    while student.nodes[source]["op"] not in ("input", "linear", "global_avg_pool", "flatten"):
        source = student.nodes[source]["inputs"][0]
    if student.nodes[source]["op"] == "flatten":
        source = student.nodes[source]["inputs"][0]
    if math.prod(layers[source].shape[1:]) == 1:
        yield _cut(student, end), width
        return
    rows = max(1, _MOST_WEIGHT_BYTES // (4 * width))
    classifier = {**student.nodes[place], "bias": None}
    for first in range(0, width, rows):
        count = min(rows, width - first)
        weight = np.zeros((count, width), np.float32)
        weight[np.arange(count), first + np.arange(count)] = 1.0
        nodes = (*student.nodes[:place], classifier)
        yield (
            _cut(
                dataclasses.replace(
                    student, nodes=nodes, arrays={**student.arrays, classifier["weight"]: weight}
                ),
                place,
            ),
            count,
        )


def _cut(student: StudentFile, end: int) -> StudentFile:
    """Return the student up to a node, without what only learning needs."""
    nodes = student.nodes[: end + 1]
    fields = ("weight", "bias", "mean", "variance", "position")
    used = {node[field] for node in nodes for field in fields if node.get(field) is not None}
    return dataclasses.replace(
        student,
        nodes=nodes,
        arrays={name: student.arrays[name] for name in used},
        output=end,
        taps=(),
        kept=(),
        teacher_channels=(),
        last_convs=(),
        trainable=(),
        state={},
    )
