"""What comes between a student's classifier and its logits: masks, scales, another order.

Most students have nothing there. If a network does more with the output of its last linear layer,
affines and channel pads on vectors follow the classifier (docs/format.md), and each logit is
scale * (an output of the classifier) + shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.classes.matching import quoted

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile
    from pyedge.student.graph import Node

Arrays = dict[str, NDArray[Any]]


class Terms(NamedTuple):
    """logits[:, j] = scale[j] * outputs[:, source[j]] + shift[j]; masked where scale[j] is 0."""

    source: NDArray[np.int64]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    @property
    def masked(self) -> NDArray[np.bool_]:
        """Which logits are the same number for every image, bool [classes]."""
        return self.scale == 0


def terms(student: StudentFile) -> Terms:
    """Return how each logit is made from the classifier's outputs."""
    classifier = next(node for node in student.nodes if node["name"] == student.classifier)
    found = _untouched(len(student.arrays[classifier["weight"]]))
    for node in student.tail():
        found = _after(found, node, student.arrays)
    return found


def with_more_rows(student: StudentFile, count: int) -> tuple[Arrays, tuple[Node, ...]]:
    """Return arrays and nodes for `count` more classes; their logits are the mean of the others.

    Masked logits are left out of the mean, unless all are masked.
    """
    arrays, nodes = dict(student.arrays), list(student.nodes)
    classifier = next(node for node in nodes if node["name"] == student.classifier)
    found = _untouched(len(arrays[classifier["weight"]]))
    for node in student.tail():
        found = _after(found, node, student.arrays)
        if node["op"] == "affine":
            for field in ("weight", "bias"):
                values = arrays[node[field]]
                arrays[node[field]] = _with_mean(values, values[_chosen(found)], count)
            continue
        more = np.arange(node["channels"], node["channels"] + count, dtype=np.int32)
        arrays[node["position"]] = np.concatenate([arrays[node["position"]], more])
        nodes[nodes.index(node)] = {**node, "channels": node["channels"] + count}
    chosen = _chosen(found)
    # divided by the mean scale, which the new logits have
    weights = found.scale[chosen] / (found.scale[chosen].mean() or 1.0)
    if found.masked.all():
        weights = np.ones(len(chosen))
    for field in ("weight", "bias"):
        if classifier[field] is not None:
            rows = arrays[classifier[field]]
            weighted = (rows[found.source[chosen]].T.astype(np.float64) * weights).T
            arrays[classifier[field]] = _with_mean(rows, weighted, count)
    return arrays, tuple(nodes)


def without_rows(student: StudentFile, names: Sequence[str], where: str) -> StudentFile:
    """Return the student without some of its classes, and without their rows.

    The optimizer's slots no longer fit and are dropped. Raises ValueError for a class that the
    student does not have, and if none would be left.
    """
    gone = set(names)
    lacking = sorted(gone - set(student.classes))
    if lacking:
        raise ValueError(f"{where}: the student knows no class {quoted(lacking[0])}")
    stays = np.array([name not in gone for name in student.classes])
    if not stays.any():
        raise ValueError(f"{where}: no class would be left")
    if not gone:
        return student
    arrays, nodes = dict(student.arrays), list(student.nodes)
    kept = stays
    for node in reversed(student.tail()):
        if node["op"] == "affine":
            for field in ("weight", "bias"):
                arrays[node[field]] = arrays[node[field]][kept]
            continue
        position = arrays[node["position"]]
        before = (position < 0) | kept[position]
        place = np.where(position < 0, -1, (np.cumsum(kept) - 1)[position])[before]
        arrays[node["position"]] = place.astype(np.int32)
        nodes[nodes.index(node)] = {**node, "channels": int(kept.sum())}
        kept = before
    classifier = next(node for node in nodes if node["name"] == student.classifier)
    for field in ("weight", "bias"):
        if classifier[field] is not None:
            arrays[classifier[field]] = arrays[classifier[field]][kept]
    return replace(
        student,
        nodes=tuple(nodes),
        arrays=arrays,
        classes=tuple(name for name in student.classes if name not in gone),
        state={},
    )


def _untouched(outputs: int) -> Terms:
    return Terms(np.arange(outputs), np.ones(outputs), np.zeros(outputs))


def _after(before: Terms, node: Node, arrays: Any) -> Terms:
    """Return the terms after one more node of the tail."""
    source, scale, shift = before
    if node["op"] == "affine":
        weight = arrays[node["weight"]].astype(np.float64)
        return Terms(source, scale * weight, shift * weight + arrays[node["bias"]])
    position = arrays[node["position"]]
    order = np.full(node["channels"], -1)
    order[position[position >= 0]] = np.flatnonzero(position >= 0)
    there = order >= 0
    return Terms(source[order], np.where(there, scale[order], 0), np.where(there, shift[order], 0))


def _chosen(found: Terms) -> NDArray[np.int64]:
    """Return the logits of which a new one is the mean."""
    return np.arange(len(found.scale)) if found.masked.all() else np.flatnonzero(~found.masked)


def _with_mean(values: NDArray[Any], chosen: NDArray[Any], count: int) -> NDArray[Any]:
    mean = chosen.mean(axis=0, dtype=np.float64).astype(values.dtype)
    return np.concatenate([values, np.stack([mean] * count)])
