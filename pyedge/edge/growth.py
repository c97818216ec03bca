"""More classes for a student: new rows of its classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.class_names import checked_names

if TYPE_CHECKING:
    from pyedge.student import StudentFile


def with_classes(student: StudentFile, names: Sequence[str]) -> StudentFile:
    """Return the student with classes appended; the ids of those it has stay what they are.

    A new class begins with the mean of the rows that are there, weight and bias: its logit is then
    the mean of the old ones, which is never above their largest. So no answer changes before the
    new class is learned, whatever the offset of the logits is. Zero weights have no such bound:
    where all logits of an image are negative, they would win it. The optimizer's slots no longer
    fit and are dropped.

    Raises ValueError for a name that is there already, given twice, or that
    `pyedge.class_names` refuses; TypeError for a name that is no text, and for a set.
    """
    added = checked_names(names, "add_classes", known=student.classes)
    if not added:
        return student
    node = next(node for node in student.nodes if node["name"] == student.classifier)
    arrays = dict(student.arrays)
    for field in ("weight", "bias"):
        if node[field] is not None:
            arrays[node[field]] = _with_mean_rows(arrays[node[field]], len(added))
    entry = {"command": "add_classes", "classes": list(added)}
    return dataclasses.replace(
        student,
        arrays=arrays,
        classes=(*student.classes, *added),
        state={},
        record=(*student.record, entry),
    )


def _with_mean_rows(rows: NDArray[Any], count: int) -> NDArray[Any]:
    mean = rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)
    return np.concatenate([rows, np.stack([mean] * count)])
