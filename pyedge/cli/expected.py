"""Whether a network is as often right as its file says, and why not: pixels, or classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from pyedge.classes.matching import shown
from pyedge.cli import networks
from pyedge.cloud.network_file import NetworkInfo
from pyedge.cloud.training.evaluate import Evaluation
from pyedge.data import ImageSet
from pyedge.warning import warn

_FAR = 0.15  # of accuracy, below what the file says
_NAMED = 3  # pairs of classes


def recorded_accuracy(record: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the last test accuracy in a record; None if it has none since the network was cut."""
    for entry in reversed(record):
        if entry.get("command") == "compress":
            return None
        share = entry.get("test_accuracy")
        if isinstance(share, float) and 0 <= share <= 1:
            return share
    return None


def warn_if_far_below(
    path: str, model: nn.Module, info: NetworkInfo, found: Evaluation, images: ImageSet
) -> None:
    """Warn where accuracy is far below what the file at `path` records, and name a likely cause.

    found: of labelled images; `images`: some of them.
    """
    recorded = recorded_accuracy(info.record)
    # three standard deviations of a share, at the most
    far = max(_FAR, 1.5 / max(found.count, 1) ** 0.5)
    if recorded is None or recorded - found.accuracy <= far:
        return
    said = (
        f"{path} records {recorded:.1%} right in its test, and {found.accuracy:.1%} of these "
        f"{found.count} images are"
    )
    order = _other_order(found, info.classes, recorded - far)
    if order:
        warn(f"{said}; likely its classes are in another order than the file says: {order}")
        return
    best, shares = networks.best_preprocessing(model, images, info.preprocessing)
    if best is not None:
        warn(
            f"{said}; likely it was trained with another preprocessing than the file's "
            f"({info.preprocessing}): with {best} it is {shares[best]:.1%}. pyedge train DATA "
            f"--weights {path} --epochs 0 --preprocessing {best}, with its --model and --size, "
            "writes a file that says so"
        )
        return
    warn(
        f"{said}; these may be pictures of another kind, or cut otherwise, or the classes of the "
        f"file in another order, or the preprocessing another than the file's "
        f"({info.preprocessing})"
    )


def _other_order(found: Evaluation, classes: Sequence[str], least: float) -> str:
    """Say which classes stand for which, if with them at least this share is right; "" if not."""
    there = [i for i, n in enumerate(found.confusion.sum(1).tolist()) if n]
    answers = {i: int(found.confusion[i].argmax()) for i in there}
    moved = {i: answer for i, answer in answers.items() if i != answer}
    right = sum(int(found.confusion[i, answer]) for i, answer in answers.items())
    if not moved or len(set(answers.values())) < len(answers) or right / found.count < least:
        return ""
    pairs = [
        f"it answers {shown(classes[answer])} for {shown(classes[i])}"
        for i, answer in list(moved.items())[:_NAMED]
    ]
    return ", ".join(pairs) + (", ..." if len(moved) > _NAMED else "")
