"""The bound over the frozen student's features: logistic regression on all images of all times.

Multinomial, on features that are standardised by the training ones, by L-BFGS in float64; the
weight of the l2 norm is the one that is best on validation images of the classes that have come.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bench.learning.features import Features, ids, pixels
from bench.learning.method import Ids, Method, Pixels, Start
from pyedge.data import ImageSet
from pyedge.student.archive import read_student

DECAYS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)  # the strongest first: each starts the next
_ITERATIONS = 200


def fit(x: Tensor, labels: Tensor, classes: int, decay: float, weights: Tensor) -> Tensor:
    """Minimise mean cross entropy + decay / 2 ||W||^2, beginning at weights [f + 1, classes].

    x: float64 [n, f]. The last row of the weights is the bias, which has no decay.
    """
    weights = weights.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [weights],
        max_iter=_ITERATIONS,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(x @ weights[:-1] + weights[-1], labels)
        value = value + decay / 2 * weights[:-1].square().sum()
        value.backward()
        return value

    search.step(loss)
    return weights.detach()


class JointFeatures(Method):
    """Fit a classifier anew to the features of all images; it keeps the features."""

    def start(self, start: Start) -> None:
        self._features = Features(read_student(start.made.base))
        self._x = [self._features.of(pixels(start.base))]
        self._y = [ids(start.base)]
        self._val_x = self._features.of(pixels(start.val))
        self._val_y = ids(start.val)
        self.decay = 0.0
        self._fit(start.protocol.base)

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self._x.append(self._features.of(pixels(images)))
        self._y.append(ids(images))
        self._fit(max(classes) + 1)

    def predict(self, images: Pixels) -> Ids:
        return self._answers(self._features.of(images), self._weights)

    @property
    def kept_bytes(self) -> int:
        return sum(each.nbytes for each in self._x) + sum(len(each) for each in self._y)

    def _fit(self, classes: int) -> None:
        x = np.concatenate(self._x).astype(np.float64)
        self._mean, self._scale = x.mean(0), np.maximum(x.std(0), 1e-6)
        given = torch.from_numpy((x - self._mean) / self._scale)
        labels = torch.from_numpy(np.concatenate(self._y))
        seen = self._val_y < classes
        weights = torch.zeros(x.shape[1] + 1, classes, dtype=torch.float64)
        best = -1.0
        for decay in DECAYS:
            weights = fit(given, labels, classes, decay, weights)
            answers = self._answers(self._val_x[seen], weights.numpy())
            right = float((answers == self._val_y[seen]).mean())
            if right > best:
                best, self.decay, self._weights = right, decay, weights.numpy()

    def _answers(self, features: NDArray[np.float32], weights: NDArray[np.float64]) -> Ids:
        x = (features - self._mean) / self._scale
        return (x @ weights[:-1] + weights[-1]).argmax(1).astype(np.int64)
