"""Judging a contribution: what cannot be true is refused, what does harm is held for review."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.classes.matching import absent, places
from pyedge.edge.joining import with_merged
from pyedge.edge.solving import solve
from pyedge.serve.limits import Limits
from pyedge.serve.refusals import invalid
from pyedge.statistics.grid import diagonal
from pyedge.statistics.merging import merged
from pyedge.statistics.sums import Statistics
from pyedge.student.features import classifier_of, features_digest
from pyedge.student.file import StudentFile
from pyedge.student.tail import terms


class Verdict(NamedTuple):
    """counts: whether a contribution counts from now on; if not, it waits for a person."""

    counts: bool
    reason: str


def check_bounds(student: StudentFile, new: Statistics, limits: Limits) -> None:
    """Raise RefusalError for a contribution that no device can have made of such images."""
    where = "contribution"
    own = student.statistics
    assert own is not None
    if new.digest != features_digest(student):
        raise invalid(f"{where}: features: wanted those of this student, got others")
    images = int(new.counts.sum())
    if not 1 <= images <= limits.most_images:
        raise invalid(f"{where}: images: wanted from 1 to {limits.most_images}, got {images}")
    added = absent(new.classes, student.classes)
    if len(added) > limits.most_classes:
        raise invalid(f"{where}: new classes: wanted up to {limits.most_classes}, got {len(added)}")
    usual = _size(own)
    size = _size(new)
    if size > limits.most_norm * usual:
        raise invalid(
            f"{where}: features: wanted a size up to {limits.most_norm:g} times that of the "
            f"student's, got {size / usual:.3g} times"
        )


def judge(
    student: StudentFile, total: Statistics | None, new: Statistics, limits: Limits
) -> Verdict:
    """Solve with and without a contribution, and compare accuracies on the student's held images.

    student: as it was added. total: of what counts already. Raises RefusalError if
    there is no solution.
    """
    try:
        with_it, _ = with_merged(student, new if total is None else merged([total, new]))
    except ValueError as error:
        raise invalid(f"contribution: {error}") from None
    own = student.statistics
    assert own is not None
    # solved as well: the classifier that a student came with may be better or worse
    before = solve(student, own, "judge") if total is None else with_merged(student, total)[0]
    if not len(own.held):
        return Verdict(False, "the student holds no images to measure by")
    was, becomes = held_accuracy(before, own), held_accuracy(with_it, own)
    if was - becomes > limits.most_drop:
        return Verdict(
            False,
            f"accuracy on {len(own.held)} held images would fall from {was:.4f} to {becomes:.4f}",
        )
    return Verdict(True, f"accuracy on {len(own.held)} held images {becomes:.4f}, was {was:.4f}")


def held_accuracy(student: StudentFile, held: Statistics) -> float:
    """Return the share of the held images of `held` that a student's classifier is right on."""
    features = held.held.astype(np.float64) * held.step
    truth = np.array(places(held.classes, student.classes), dtype=np.int64)[held.held_of]
    return float((logits_of_features(student, features).argmax(axis=1) == truth).mean())


def logits_of_features(student: StudentFile, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logits [n, classes] from what the classifier reads, [n, f]."""
    node = classifier_of(student)
    outputs = features @ student.arrays[node["weight"]].T.astype(np.float64)
    if node["bias"] is not None:
        outputs += student.arrays[node["bias"]]
    found = terms(student)
    return outputs[:, found.source] * found.scale + found.shift


def _size(statistics: Statistics) -> float:
    """Return a size of features: of the class that is farthest out, root mean square or mean."""
    means = statistics.sums * (statistics.step / statistics.counts[:, None].astype(np.float64))
    sizes = list(np.sqrt((means**2).sum(axis=1)))
    for group, moments in enumerate(statistics.moments):
        number = int(statistics.described[statistics.groups == group].sum())
        squares = float(moments[diagonal(statistics.features)].astype(np.float64).sum())
        sizes.append(statistics.step * (squares / number) ** 0.5)
    held = statistics.held.astype(np.float64) * statistics.step
    # one image may lie farther out than the mean of many
    sizes.extend(np.sqrt((held**2).sum(axis=1)) / 4)
    return float(max(sizes))
