"""Evaluation: how a classifier did on labelled images, on the device or in the cloud."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Evaluation:
    """Hold how a classifier did on labelled images; everything follows from the confusion matrix.

    `confusion` [classes, classes] int64 counts images by true class (row) and predicted class: a
    torch tensor from `pyedge.evaluate`, a numpy array from `EdgeLearner.evaluate`. `loss` is the
    mean cross entropy.
    """

    confusion: Any
    loss: float

    def __post_init__(self) -> None:
        if self.confusion.ndim != 2:  # torchmetrics has no matrix of one class
            object.__setattr__(self, "confusion", self.confusion.reshape(1, 1))

    @property
    def count(self) -> int:
        """The number of images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of images predicted right; NaN without images."""
        return _share(self.confusion.diagonal().sum(), self.confusion.sum())

    @property
    def per_class(self) -> tuple[float, ...]:
        """The accuracy of each class; NaN for a class without images."""
        rows = self.confusion.sum(1)
        return tuple(map(_share, self.confusion.diagonal(), rows))

    def accuracy_on(self, classes: Iterable[int]) -> float:
        """Return the accuracy on the images of some classes, with the argmax over all classes.

        This is how old, new and unseen categories are scored: the network may answer with any
        class. NaN if no image belongs to them. Raises ValueError for a class out of range.
        """
        index = sorted(set(classes))
        total = self.confusion.shape[0]
        for c in index:
            if not 0 <= c < total:
                raise ValueError(f"accuracy_on: classes: wanted 0..{total - 1}, got {c}")
        rows = self.confusion[index]
        return _share(self.confusion.diagonal()[index].sum(), rows.sum())

    def old_and_new(self, new: Sequence[int]) -> dict[str, float]:
        """Return {"old", "new", "mean", "weighted"} accuracy for a split into new and old classes.

        "mean" is (old + new) / 2 and "weighted" the share of all images; Table 4's "Avg" is the
        former in some rows and the latter in others, so both are reported.
        """
        old = sorted(set(range(self.confusion.shape[0])) - set(new))
        result = {"old": self.accuracy_on(old), "new": self.accuracy_on(new)}
        return {
            **result,
            "mean": (result["old"] + result["new"]) / 2,
            "weighted": self.accuracy,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, ready for JSON (a class without images is None)."""
        return {
            "accuracy": _plain(self.accuracy),
            "per_class": [_plain(a) for a in self.per_class],
            "confusion": self.confusion.tolist(),
            "count": self.count,
            "loss": _plain(self.loss),
        }


def check_score(score: Any, function: str) -> None:
    """Raise TypeError for a `score` that cannot be called; None means the accuracy."""
    if score is not None and not callable(score):
        raise TypeError(
            f"{function}: score: wanted a function that takes an Evaluation and returns a number, "
            f"or None for the accuracy, got {score!r:.80}"
        )


def scored(score: Callable[[Evaluation], Any] | None, found: Evaluation, function: str) -> float:
    """Return an evaluation's score; TypeError if it is not a number, ValueError for NaN."""
    if score is None:
        return found.accuracy
    given = score(found)
    try:
        if isinstance(given, (str, bytes)):
            raise TypeError
        value = float(given)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{function}: score: wanted it to return a number, got {given!r:.80}"
        ) from None
    if math.isnan(value):
        raise ValueError(
            f"{function}: score returned NaN, which is neither better nor worse than a number; a "
            "class without images has NaN in per_class"
        )
    return value


def _share(right: Any, of: Any) -> float:
    return float(right) / float(of) if float(of) else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
