"""The form of a solved classifier, and the temperature of its answers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pyedge.statistics.gaussian import Gaussian, Matrix
from pyedge.statistics.heads import Form
from pyedge.statistics.leave_one_out import Held, left_out_logits

FORMS = (
    *(Form("discriminant", shrinkage) for shrinkage in (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)),
    *(Form("ridge", shrinkage) for shrinkage in (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)),
    Form("mean", 0.0),
)
# where nothing is held to choose by, or too few classes: on validation images of digits and of
# CIFAR-10 within a point of the best form, at 55 to 500 features
DEFAULT_FORM = Form("discriminant", 0.01)
# where a class has fewer images than FEW, or all together have fewer than there are features:
# random features of them say less than the features themselves, and ridge regression has no word on
# how uncertain a mean is. On validation images of digits and CIFAR-10, with 1 to 20 images of a new
# class, the best but for the mean alone.
FEW = 50
FORM_OF_FEW = Form("discriminant", 0.1)
_LEAST_CLASSES = 5  # what is best for fewer says little of what is best for the many to come
LEAST_HELD = 20  # images, below which nothing can be said

Labels = NDArray[np.int64]


def few(gaussian: Gaussian) -> bool:
    """Tell whether these are too few images for random features and for choosing a form."""
    return bool(gaussian.counts.min() < FEW or gaussian.freedom < gaussian.means.shape[1])


def balanced(labels: Labels, classes: int) -> Matrix:
    """Return a weight for each image, so that each class present counts alike; their sum is 1."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights = 1 / counts[labels]
    return weights / weights.sum()


def log_loss(logits: Matrix, labels: Labels, temperature: float = 1.0) -> float:
    """Return the mean of -log p of the true class, each class counting alike."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    logs = scaled[np.arange(len(labels)), labels] - np.log(np.exp(scaled).sum(axis=1))
    return float(-(balanced(labels, logits.shape[1]) * logs).sum())


def temperature_of(logits: Matrix, labels: Labels) -> float:
    """Return what to divide logits by so that their softmax is calibrated (Guo et al. 2017).

    The loss is convex in the inverse of the temperature; a golden-section search on its logarithm
    finds the minimum between 1e-3 and 1e3. A few images, all answered right, would give absolute
    certainty; so one extra image counts as wrong in every possible way.
    """
    n, classes = logits.shape
    low, high = math.log(1e-3), math.log(1e3)
    ratio = (math.sqrt(5) - 1) / 2

    def cost(at: float) -> float:
        uniform = np.repeat(logits, classes, axis=0), np.tile(np.arange(classes), n)
        return (n * log_loss(logits, labels, math.exp(at)) + log_loss(*uniform, math.exp(at))) / (
            n + 1
        )

    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = cost(a), cost(b)
    for _ in range(40):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = cost(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = cost(b)
    return math.exp((low + high) / 2)


def calibration_error(probabilities: NDArray[np.floating], labels: Labels, bins: int = 15) -> float:
    """Return the expected calibration error (Naeini et al. 2015): bins of equal width."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((sure * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, right, bins) - np.bincount(place, sure, bins)
    return float(np.abs(gap).sum() / len(labels))


def chosen_form(gaussian: Gaussian, held: Held) -> Form:
    """Choose a classifier by the held images, each left out of the sums.

    Among the forms whose share of right answers (each class counting alike) is within a standard
    error of the best, the one with the least loss at its own temperature: some 200 images cannot
    tell more. DEFAULT_FORM for fewer than five classes.
    """
    if len(gaussian.counts) < _LEAST_CLASSES:
        return DEFAULT_FORM
    weights = balanced(held.labels, len(gaussian.counts))
    found = []
    for form in FORMS:
        logits = left_out_logits(gaussian, held, form)
        right = float(weights @ (logits.argmax(axis=1) == held.labels))
        loss = log_loss(logits, held.labels, temperature_of(logits, held.labels))
        found.append((right, loss, form))
    best = max(right for right, _, _ in found)
    best -= math.sqrt(max(best * (1 - best), 0.0) / len(held.labels))
    return min((loss, form) for right, loss, form in found if right >= best)[1]
