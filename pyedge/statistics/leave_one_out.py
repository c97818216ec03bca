"""What a classifier would have answered for an image if that image had not been in the sums.

Some images of each class are held: their features are kept. The answers to them decide the form of
the classifier, its temperature, and how far from everything known an image may be. All of it is in
closed form (Cook and Weisberg 1982, Sec. 2.2): leaving out an image changes the mean of its class
and the covariance by one outer product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyedge.statistics.gaussian import Gaussian, Matrix
from pyedge.statistics.heads import Form, inverse_times, shrunk, solved, uncertainty
from pyedge.statistics.sums import Statistics


@dataclass(frozen=True, eq=False)
class Held:
    """Held images and their classes: features float64 [h, f], labels int64 [h].

    counted bool [h]: whether the sums count an image, which must then be left out of them.
    """

    features: Matrix
    labels: NDArray[np.int64]
    counted: NDArray[np.bool_]

    def counts(self, gaussian: Gaussian) -> tuple[Matrix, Matrix]:
        """Return n / (n - 1) and 1 / n for each image's class; 1 and 0 if it is not counted."""
        n = gaussian.counts[self.labels]
        return np.where(self.counted, n / np.maximum(n - 1, 1), 1.0), self.counted / n

    def projected(self, rows: Matrix | None) -> Held:
        """Use rows @ features instead of the features, rows [p, f]; None: the features."""
        return self if rows is None else replace(self, features=self.features @ rows.T)

    @classmethod
    def of(cls, statistics: Statistics, gaussian: Gaussian, classes: Sequence[str]) -> Held:
        """Take the held images of `classes`, except those that are the only one of their class."""
        places = {name: i for i, name in enumerate(classes)}
        number = np.array([places.get(name, -1) for name in statistics.classes], dtype=np.int64)
        labels = number[statistics.held_of]
        counted = statistics.held_counted
        stays = (labels >= 0) & ((gaussian.counts[labels] > 1) | ~counted)
        features = statistics.held[stays].astype(np.float64) * statistics.step
        return cls(features, labels[stays], counted[stays])


def left_out_distances(gaussian: Gaussian, held: Held, shrinkage: float) -> Matrix:
    """Return squared Mahalanobis distances to each class, [h, c], each image left out."""
    within = shrunk(gaussian.within, shrinkage)
    x, labels = held.features, held.labels
    own = np.arange(len(labels)), labels
    factor, share = held.counts(gaussian)
    # x - mu_k for all k, and their products with the inverse, from those of x and of mu
    both = inverse_times(within, np.concatenate([x, gaussian.means]).T)
    px, pm = both[:, : len(x)].T, both[:, len(x) :].T
    distances = (
        (px * x).sum(axis=1)[:, None]
        - 2 * px @ gaussian.means.T
        + (pm * gaussian.means).sum(axis=1)
    )
    d = x - gaussian.means[labels]
    pd = px - pm[labels]
    # (x - mu_own)^T P (x - mu_k)
    cross = (pd * x).sum(axis=1)[:, None] - pd @ gaussian.means.T
    gamma = np.where(share > 0, (1 - shrinkage) * factor / gaussian.freedom, 0.0)
    self_distance = (pd * d).sum(axis=1)
    room = np.maximum(1 - gamma * self_distance, 1e-3)
    found = distances + (gamma / room)[:, None] * cross**2
    found[own] *= factor**2  # from the mean of the others of its class
    return found


def left_out_logits(gaussian: Gaussian, held: Held, form: Form) -> Matrix:
    """Return the logits of a form, [h, c], each image left out."""
    own = np.arange(len(held.labels)), held.labels
    factor, share = held.counts(gaussian)
    uncertain = np.tile(uncertainty(gaussian, form), (len(held.labels), 1))
    # of its own class there is an image less, if it is counted
    n = gaussian.counts[held.labels]
    uncertain[own] *= (n + 1) / (n + 1 - held.counted)
    if form.kind == "discriminant":
        return -0.5 * (left_out_distances(gaussian, held, form.shrinkage) - uncertain)
    if form.kind == "mean":
        x = held.features
        away = x[:, None, :] - gaussian.means[None] if x.size else np.empty((0, 1, 1))
        found = (away**2).sum(axis=2)
        found[own] *= factor**2
        return -0.5 * (found - uncertain)
    head = solved(gaussian, form)
    logits = held.features @ head.weight.T + head.bias
    classes = len(gaussian.counts)
    centre = gaussian.means.mean(axis=0)
    away = gaussian.means - centre
    total = shrunk(gaussian.within, form.shrinkage) + away.T @ away / classes
    x = held.features - centre
    leverage = (inverse_times(total, x.T).T * x).sum(axis=1) + 1
    leverage = np.minimum(leverage * share / classes, 0.99)[:, None]
    targets = np.zeros_like(logits)
    targets[own] = 1
    return (logits - leverage * targets) / (1 - leverage)
