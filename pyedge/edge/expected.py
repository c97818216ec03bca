"""Whether a network is as often right as its record says, and if not, what may be the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyedge.classes.matching import shown
from pyedge.images.preprocessing import Preprocessing
from pyedge.runs.evaluation import Evaluation
from pyedge.student.file import StudentFile
from pyedge.warning import warn

_FAR = 0.15  # of accuracy, below what the record says
_NAMED = 3  # pairs of classes
_SAME_ANSWERS = ("export", "add_statistics")  # what changes no answer


def recorded_accuracy(record: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the last test accuracy in a record; None if the network was changed since."""
    for entry in reversed(record):
        share = entry.get("test_accuracy")
        if isinstance(share, float) and 0 <= share <= 1:
            return share
        if entry.get("command") not in _SAME_ANSWERS:
            return None
    return None


def is_far_below(found: Evaluation, recorded: float | None) -> bool:
    """Tell whether accuracy on some images is farther below the record than chance explains.

    Images of one class alone tell nothing: a class may be harder than others.
    """
    if recorded is None or sum(row.sum() > 0 for row in found.confusion) < 2:
        return False
    return recorded - found.accuracy > _allowed(found)


def _allowed(found: Evaluation) -> float:
    # three standard deviations of a share, at the most
    return max(_FAR, 1.5 / max(found.count, 1) ** 0.5)


def both(whose: str, found: Evaluation, recorded: float) -> str:
    """Say what the record says, and what was found."""
    return (
        f"{whose} records {recorded:.1%} right in its test, and {found.accuracy:.1%} of these "
        f"{found.count} images are"
    )


def other_order(found: Evaluation, classes: Sequence[str], recorded: float) -> str:
    """Say which classes stand for which, if that explains the difference; "" if not."""
    there = [i for i, n in enumerate(found.confusion.sum(1).tolist()) if n]
    answers = {i: int(found.confusion[i].argmax()) for i in there}
    moved = {i: answer for i, answer in answers.items() if i != answer}
    right = sum(int(found.confusion[i, answer]) for i, answer in answers.items())
    least = recorded - _allowed(found)
    if not moved or len(set(answers.values())) < len(answers) or right / found.count < least:
        return ""
    pairs = [
        f"it answers {shown(classes[answer])} for {shown(classes[i])}"
        for i, answer in list(moved.items())[:_NAMED]
    ]
    return (
        "likely its classes are in another order than the file says: "
        f"{', '.join(pairs)}{', ...' if len(moved) > _NAMED else ''}"
    )


def other_causes(preprocessing: str) -> str:
    """Say what the reason may be where nothing tells the possible ones apart."""
    return (
        "these may be pictures of another kind, or cut otherwise, or the classes of the file in "
        f"another order, or the preprocessing another than the file's ({preprocessing})"
    )


def warn_if_far_below(student: StudentFile, found: Evaluation) -> None:
    """Warn where a student is right far less often than its record says, and say why it may be."""
    recorded = recorded_accuracy(student.record)
    if recorded is None or not is_far_below(found, recorded):
        return
    order = other_order(found, student.classes, recorded)
    causes = order or other_causes(str(Preprocessing.of(student.preprocessing)))
    warn(f"{both('evaluate: the file of the student', found, recorded)}; {causes}")
