"""More classes for a student: new rows of its classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyedge.classes.names import checked_names
from pyedge.student.tail import with_more_rows

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile


def with_classes(
    student: StudentFile, names: Sequence[str], where: str = "add_classes"
) -> StudentFile:
    """Return the student with classes appended; the ids of its present classes do not change.

    A new class begins with the mean of the existing rows, weight and bias: its logit is then the
    mean of the old ones, which never exceeds their largest. So no answer changes before the new
    class is learned, whatever the offset of the logits. Zero weights have no such bound: they would
    win every image whose logits are all negative. If something stands between the classifier and
    the logits (a mask, an adjustment, a temperature), the mean is taken over the logits that are
    not masked, and the new class has their mean scale and shift. The optimizer's slots no longer
    fit and are dropped.

    Raises ValueError for a name that the student has already, that is given twice, or that
    `pyedge.classes.names` refuses; TypeError for a name that is not text, and for a set. Messages
    begin with `where`.
    """
    added = checked_names(names, where, known=student.classes)
    if not added:
        return student
    arrays, nodes = with_more_rows(student, len(added))
    entry = {"command": "add_classes", "classes": list(added)}
    return dataclasses.replace(
        student,
        nodes=nodes,
        arrays=arrays,
        classes=(*student.classes, *added),
        state={},
        record=(*student.record, entry),
    )
