"""A student's classifier, solved from its statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.statistics.calibration import (
    DEFAULT_FORM,
    FORM_OF_FEW,
    LEAST_HELD,
    chosen_form,
    few,
    temperature_of,
)
from pyedge.statistics.gaussian import Gaussian, Matrix
from pyedge.statistics.heads import Form, Head, solved
from pyedge.statistics.leave_one_out import Held, left_out_logits
from pyedge.statistics.sums import Statistics
from pyedge.statistics.unknown import Distances, threshold_of
from pyedge.student.expansion import own_features, with_bias
from pyedge.student.features import features_digest
from pyedge.student.tail import terms

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile

# images for each feature below which those left out say little of the others: the least shrinkage
# looks best, and is far from it (digits' pixels, 300 images: 89 % right, DEFAULT_FORM 98 %)
_TO_CHOOSE = 2


def check_fresh(student: StudentFile, where: str) -> Statistics:
    """Return the student's statistics; ValueError if it has none, or they are stale."""
    if student.statistics is None:
        raise ValueError(
            f"{where}: the student has no statistics; pyedge.export(statistics=images) or "
            "pyedge.add_statistics makes them"
        )
    if student.statistics.digest != features_digest(student):
        raise ValueError(
            f"{where}: the statistics are of other features than the student computes now: layers "
            "before its classifier have changed since; pyedge.add_statistics makes them anew"
        )
    return student.statistics


def solve(student: StudentFile, statistics: Statistics, where: str) -> StudentFile:
    """Return the student with these statistics, and the classifier that they give.

    Its form is the one that the student's head names, or else the best for the held images. Raises
    ValueError, beginning with `where`, if there is no solution, or if nothing is known of a class.
    """
    found = terms(student)
    open_classes = [student.classes[j] for j in np.flatnonzero(~found.masked)]
    try:
        gaussian = Gaussian.of(statistics, open_classes)
        settings = _settings(student, statistics, gaussian, open_classes)
        rows, form = _solved_for(student, gaussian, settings)
        head = solved(gaussian.projected(rows), form)
        if rows is not None:
            head = Head(head.weight @ rows, head.bias)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    temperature = settings.get("temperature", 1.0)
    # what is the same for all classes changes no answer, and costs float32 its digits
    weight = (head.weight - head.weight.mean(axis=0)) / temperature
    bias = (head.bias - head.bias.mean()) / temperature
    return _with_classifier(
        dataclasses.replace(student, statistics=statistics, head=settings), weight, bias
    )


def with_settings(student: StudentFile, statistics: Statistics) -> StudentFile:
    """Return the student with these statistics and the head that they imply; same classifier.

    If they are of too few images for that, the head is empty.
    """
    described = _described(student, statistics)
    settings: dict[str, Any] = {}
    if len(described) > 1:
        with suppress(ValueError):
            gaussian = Gaussian.of(statistics, described)
            settings = _settings(student, statistics, gaussian, described)
    return dataclasses.replace(student, statistics=statistics, head=settings)


def distances(student: StudentFile, where: str) -> Distances:
    """Return a measure of how far images are from everything that a student's statistics know.

    Raises ValueError if it has no statistics, or too few held images to say what is too far.
    """
    statistics = check_fresh(student, where)
    threshold = student.head.get("threshold")
    if threshold is None:
        raise ValueError(
            f"{where}: unknown=True needs a threshold, and too few images are held to find one; "
            "add statistics of more images"
        )
    gaussian = Gaussian.of(statistics, _described(student, statistics))
    rows, _ = _solved_for(student, gaussian, student.head)
    return Distances(gaussian, float(threshold), rows)


def _described(student: StudentFile, statistics: Statistics) -> list[str]:
    """Name the classes that are not masked and of which something is known."""
    masked = terms(student).masked
    return [
        name
        for name, hidden in zip(student.classes, masked, strict=True)
        if not hidden and name in statistics.classes
    ]


def _settings(
    student: StudentFile, statistics: Statistics, gaussian: Gaussian, classes: Sequence[str]
) -> dict[str, Any]:
    """Return a head: its form, its temperature, and the threshold of what is unknown.

    A form that was chosen once stays, so that the solution depends on the sums alone; with too few
    images to choose by, it is DEFAULT_FORM. The head is empty if too few are held.
    """
    held = Held.of(statistics, gaussian, classes)
    if len(held.labels) < LEAST_HELD:
        return dict(student.head)
    head = student.head
    if not head:
        enough = gaussian.freedom >= _TO_CHOOSE * gaussian.means.shape[1] and not few(gaussian)
        form = chosen_form(gaussian, held) if enough else DEFAULT_FORM
        head = {"kind": form.kind, "shrinkage": form.shrinkage}
    rows, form = _solved_for(student, gaussian, head)
    logits = left_out_logits(gaussian.projected(rows), held.projected(rows), form)
    return {
        "kind": head["kind"],
        "shrinkage": head["shrinkage"],
        "temperature": temperature_of(logits, held.labels),
        "threshold": threshold_of(gaussian.projected(rows), held.projected(rows)),
    }


def _solved_for(
    student: StudentFile, gaussian: Gaussian, settings: Mapping[str, Any]
) -> tuple[Matrix | None, Form]:
    """Return which rows make the features to solve for (None: all), and the classifier's form."""
    if few(gaussian):
        return own_features(student), FORM_OF_FEW
    if not settings:
        return None, DEFAULT_FORM
    return None, Form(settings["kind"], settings["shrinkage"])


def _with_classifier(
    student: StudentFile, weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> StudentFile:
    """Write weights and biases of the logits that are not masked into the classifier's rows."""
    found = terms(student)
    chosen = np.flatnonzero(~found.masked)
    rows, scale = found.source[chosen], found.scale[chosen]
    # a classifier without a constant cannot say what statistics do
    student, node = with_bias(student)
    arrays = dict(student.arrays)
    weights = np.array(arrays[node["weight"]])
    biases = np.array(arrays[node["bias"]])
    weights[rows] = weight / scale[:, None]
    biases[rows] = (bias - found.shift[chosen]) / scale
    arrays[node["weight"]], arrays[node["bias"]] = weights, biases
    # the optimizer's slots are of other weights
    return dataclasses.replace(student, arrays=arrays, state={}, optimizer={})
