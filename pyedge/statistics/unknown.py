"""Images unlike anything known: their distance from the statistics, and when it is too large.

The squared Mahalanobis distance to the nearest class (Lee et al. 2018) is large for many images
that are merely unusual. With the distance to all classes taken as one cloud subtracted (Ren et al.
2021) it finds images that are unlike every class, though not unlike images in general.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyedge.statistics.gaussian import Gaussian, Matrix
from pyedge.statistics.heads import inverse_times, shrunk
from pyedge.statistics.leave_one_out import Held, left_out_distances

COVERAGE = 0.95  # share of known images that the threshold lets pass
# of both covariances: enough for features that hardly ever differ. Chosen on digits and CIFAR-10,
# where 1e-3 to 0.3 differ by 0.05 in AUROC at the most, and less is better.
_SHRINKAGE = 1e-3


class Distances:
    """Relative Mahalanobis distances of features, and the threshold of what is known."""

    def __init__(self, gaussian: Gaussian, threshold: float, rows: Matrix | None = None) -> None:
        """Measure distances to these classes, in rows @ features (None: in the features)."""
        self.threshold = threshold
        gaussian = gaussian.projected(rows)
        self._rows = None if rows is None else rows.T.astype(np.float32)
        self._near = _whitening(shrunk(gaussian.within, _SHRINKAGE))
        self._far = _whitening(shrunk(gaussian.total(), _SHRINKAGE))
        self._means = gaussian.means @ self._near
        self._centre = gaussian.means.mean(axis=0) @ self._far

    def of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distance of each image, float32 [n], from features float32 [n, f]."""
        if self._rows is not None:
            features = features @ self._rows
        near, far = features @ self._near, features @ self._far
        products = (near**2).sum(axis=1)[:, None] - 2 * near @ self._means.T
        nearest = (products + (self._means**2).sum(axis=1)).min(axis=1)
        found = nearest - ((far - self._centre) ** 2).sum(axis=1)
        return np.asarray(found, np.float32)


def threshold_of(gaussian: Gaussian, held: Held) -> float:
    """Return the distance that a share COVERAGE of the held images does not exceed."""
    nearest = left_out_distances(gaussian, held, _SHRINKAGE).min(axis=1)
    found = nearest - _left_out_background(gaussian, held)
    return float(np.quantile(found, COVERAGE, method="higher"))


def _left_out_background(gaussian: Gaussian, held: Held) -> Matrix:
    """Return squared distances to all classes as one cloud, each image left out, [h]."""
    away = held.features - gaussian.means.mean(axis=0)
    within = inverse_times(shrunk(gaussian.total(), _SHRINKAGE), away.T).T
    distances = (within * away).sum(axis=1)
    _, share = held.counts(gaussian)
    return distances / np.maximum(1 - share / len(gaussian.counts) * distances, 1e-3)


def _whitening(covariance: Matrix) -> Matrix:
    """Return R with R R^T the inverse of the covariance."""
    inverse = inverse_times(covariance, np.eye(len(covariance)))
    return np.linalg.cholesky((inverse + inverse.T) / 2)
