"""Classes that a network masks: their logit is the same low number for every image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyedge.classes.matching import listing, quoted
from pyedge.images.edge_images import EdgeImages
from pyedge.images.rows import Rows
from pyedge.knowledge.pack import Knowledge
from pyedge.student.tail import terms

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile

_MASK = -1e3  # no network computes such a logit; masks are -1e3, -1e4, -1e9, minus infinity
_LOOKED_AT = 8  # images of a pack


def refuse_masked_labels(student: StudentFile, images: EdgeImages) -> None:
    """Refuse labels of masked classes: they cannot be learned, and learning would not fail."""
    assert images.labels is not None
    masked = np.flatnonzero(terms(student).masked)
    found = masked[np.isin(masked, images.labels)]
    if len(found):
        raise ValueError(
            f"learn: labels name {quoted(student.classes[found[0]])}, which the student's network "
            "masks: its logit stays the same number for every image; export the student without "
            "that mask"
        )


def check_masks(student: StudentFile, pack: Knowledge, places: Rows, columns: Rows | None) -> None:
    """Refuse a pack whose teacher masks other classes: the masks alone would make up J_1."""
    rows = places[:_LOOKED_AT]
    logits = pack.batch(rows, np.zeros(len(rows), np.int64), columns)["logits"]
    if len(logits) < 2:
        return  # one image does not show what is the same for all
    theirs = ((logits <= _MASK) & (logits == logits[0])).all(axis=0)
    found = terms(student)
    mine = found.masked & (found.shift <= _MASK)
    for who, other, masks in (
        ("teacher", "student", theirs & ~mine),
        ("student", "teacher", mine & ~theirs),
    ):
        if masks.any():
            names = [student.classes[i] for i in np.flatnonzero(masks)]
            raise ValueError(
                f"learn: the {who} masks {listing(names)}, the {other} does not, so their logits "
                "cannot be compared; mask them in both or in neither, or leave J_1 out with "
                "lambdas=(0, 10, 1)"
            )
