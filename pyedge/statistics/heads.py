"""Classifiers in closed form: the nearest mean, the linear discriminant, ridge regression.

All need only the mean of each class and the covariance around the means, pooled over the classes,
but no images. With f the features, mu_k the mean of class k and S the covariance:

- "mean": the logit of class k is -|f - mu_k|^2 / 2, less what is the same for all classes.
- "discriminant": -(f - mu_k)^T S^-1 (f - mu_k) / 2 (Fisher 1936; as streaming LDA, Hayes and Kanan
  2020). S is shrunk towards a multiple of the identity.
  In both, tr(S^-1 S_0) / (n_k + 1) is taken off the squared distance, S_0 being the covariance
  before it is shrunk (tr S_0 / (n_k + 1) for the mean). With a mean of n_k images the distance is
  too large by about that much: otherwise a class of a few images loses to those of many (Moran and
  Murphy 1979). On average the excess is tr(S^-1 S_0) / n_k, but taking off all of that for a class
  of one image would be at the cost of the other classes.
- "ridge": least squares from f and a constant to 1 for the class and 0 for the others (Zhuang et
  al. 2022), each image weighted so that classes count alike however many images they have. If they
  have the same number, this is exactly ridge regression on all images; if not, each class is taken
  to have the pooled covariance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pyedge.statistics.gaussian import Gaussian, Matrix

HEADS = ("discriminant", "ridge", "mean")


class Head(NamedTuple):
    """Logits are features @ weight.T + bias: weight float64 [c, f], bias float64 [c]."""

    weight: Matrix
    bias: Matrix


class Form(NamedTuple):
    """The kind of classifier, and how much its covariance is shrunk, from 0 to 1."""

    kind: str
    shrinkage: float


def shrunk(within: Matrix, shrinkage: float) -> Matrix:
    """Shrink a covariance towards the multiple of the identity that has the same trace."""
    spread = float(np.trace(within)) / len(within)
    found = (1 - shrinkage) * within
    # features that never differ have no variance; what float64 leaves of it is no number to trust
    found[np.diag_indices_from(found)] += max(shrinkage, 1e-9) * spread
    return found


def inverse_times(matrix: Matrix, columns: Matrix) -> Matrix:
    """Solve matrix @ x = columns for a positive definite matrix.

    Raises ValueError if it is not.
    """
    try:
        factor = np.linalg.cholesky(matrix)
        if not np.isfinite(factor).all() or factor.diagonal().min() <= 0:
            raise np.linalg.LinAlgError
        return np.asarray(np.linalg.solve(matrix, columns), np.float64)
    except np.linalg.LinAlgError:
        raise ValueError(
            "the statistics have no solution: all images have the same features, or the "
            "sums are damaged"
        ) from None


def uncertainty(gaussian: Gaussian, form: Form) -> Matrix:
    """Return what is taken off the squared distances to each class, [c]."""
    if form.kind == "mean":
        return np.trace(gaussian.within) / (gaussian.counts + 1)
    within = shrunk(gaussian.within, form.shrinkage)
    return np.trace(inverse_times(within, gaussian.within)) / (gaussian.counts + 1)


def solved(gaussian: Gaussian, form: Form) -> Head:
    """Return the classifier of a form; ValueError if the equations have no solution."""
    means = gaussian.means
    if form.kind == "mean":
        return Head(means, -0.5 * ((means**2).sum(axis=1) - uncertainty(gaussian, form)))
    within = shrunk(gaussian.within, form.shrinkage)
    if form.kind == "discriminant":
        weight = inverse_times(within, means.T).T
        return Head(weight, -0.5 * ((weight * means).sum(axis=1) - uncertainty(gaussian, form)))
    centre = means.mean(axis=0)
    away = means - centre
    # the constant's column is eliminated: least squares on centred features and targets
    total = within + away.T @ away / len(means)
    weight = inverse_times(total, away.T).T / len(means)
    return Head(weight, 1 / len(means) - weight @ centre)
