"""The formulas of the strategies that `bench.learning.torch_methods` compares with.

They are written here, and not taken from avalanche-lib, because that does not run beside the torch
that this project is developed with: version 0.6.0 installs beside torch 2.13 (CPU), but imports
torchvision, whose wheels on PyPI are built for CUDA's torch and fail at import ("operator
torchvision::nms does not exist"), and it asks for wandb, tensorboard, gdown, pytorchcv and
qpsolvers besides. Where paper and Avalanche differ, Avalanche's form is taken and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

Parameters = Mapping[str, Tensor]


def distillation(logits: Tensor, before: Tensor, temperature: float = 2.0) -> Tensor:
    """Learning without Forgetting (Li and Hoiem 2016, eq. 2): KL of the old classes' answers.

    logits [n, classes] now, before [n, old] of the student that was; both softened by the
    temperature. As in Avalanche it is the KL divergence, whose gradient is the cross entropy's.
    """
    now = F.log_softmax(logits[:, : before.shape[1]] / temperature, dim=1)
    return F.kl_div(now, F.softmax(before / temperature, dim=1), reduction="batchmean")


def importances(
    learning: Mapping[str, nn.Parameter], losses: Iterable[Tensor]
) -> dict[str, Tensor]:
    """Elastic Weight Consolidation: the diagonal Fisher matrix from the gradients of some losses.

    As in Avalanche: the mean over batches of the squared gradient of a batch's mean loss. The paper
    (Kirkpatrick et al. 2017) has single images, for which it is the same with batches of one.
    """
    total = {name: torch.zeros_like(p) for name, p in learning.items()}
    count = 0
    for loss in losses:
        for name, gradient in zip(
            learning, torch.autograd.grad(loss, list(learning.values())), strict=True
        ):
            total[name] += gradient.square()
        count += 1
    return {name: each / count for name, each in total.items()}


def ewc_penalty(learning: Parameters, kept: Parameters, weights: Parameters) -> Tensor:
    """Sum F (theta - theta_kept)^2 (Kirkpatrick et al. 2017, eq. 3, without its 1/2, as Avalanche).

    Rows that have come since are free: `kept` and `weights` have fewer of them.
    """
    parts = []
    for name, then in kept.items():
        now = learning[name][: len(then)]
        parts.append((weights[name] * (now - then).square()).sum())
    return torch.stack(parts).sum()


def icarl_loss(logits: Tensor, labels: Tensor, before: Tensor) -> Tensor:
    """iCaRL (Rebuffi et al. 2017, Algorithm 3): binary cross entropy on sigmoids of all classes.

    The targets of old classes are the sigmoids of `before` [n, old], the logits of the student that
    was, also for exemplars; of new ones the labels. Mean over images and classes, as in Avalanche.
    """
    targets = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    targets[:, : before.shape[1]] = torch.sigmoid(before)
    return F.binary_cross_entropy_with_logits(logits, targets)


def herding(features: NDArray[np.floating], count: int) -> list[int]:
    """iCaRL's exemplars (Algorithm 4): rows whose running mean stays nearest to the mean of all.

    features [n, f], made unit vectors first; none is taken twice. Returns at most n rows, the best
    first.
    """
    x = features / np.linalg.norm(features, axis=1, keepdims=True)
    mean, total = x.mean(0), np.zeros(x.shape[1])
    chosen: list[int] = []
    free = np.ones(len(x), bool)
    for number in range(1, min(count, len(x)) + 1):
        distance = np.linalg.norm(mean - (total + x) / number, axis=1)
        best = int(np.where(free, distance, np.inf).argmin())
        chosen.append(best)
        free[best] = False
        total += x[best]
    return chosen


def unit_mean(features: Sequence[Tensor]) -> Tensor:
    """iCaRL's prototype: the mean of unit features, of each view; then a unit vector itself."""
    means = [F.normalize(each, dim=1).mean(0) for each in features]
    return F.normalize(torch.stack(means).mean(0), dim=0)


class StreamingDiscriminant:
    """Deep streaming LDA (Hayes and Kanan 2020, Sec. 3): means and one covariance, row by row.

    features: f. The covariance that is streamed is eq. 2's; the classifier is eq. 3 and 4 with the
    precision matrix [(1 - e) S + e I]^-1, e = 1e-4, and the base images' covariance is that of
    Oracle Approximating Shrinkage (Chen et al. 2010), all as in paper and Avalanche.
    """

    def __init__(self, features: int, shrinkage: float = 1e-4) -> None:
        self.means = np.zeros((0, features))
        self.counts = np.zeros(0)
        self.covariance = np.zeros((features, features))
        self._seen = 0
        self._shrinkage = shrinkage

    def fit_base(self, x: NDArray[np.floating], labels: NDArray[np.int64], classes: int) -> None:
        """Begin with features [n, f] of base images."""
        from sklearn.covariance import OAS

        self.grow(classes)
        for label in range(classes):
            self.means[label] = x[labels == label].mean(0)
            self.counts[label] = (labels == label).sum()
        found = OAS(assume_centered=True).fit(x - self.means[labels])
        self.covariance = found.covariance_.astype(np.float64)
        self._seen = len(x)

    def grow(self, classes: int) -> None:
        """Have room for `classes` classes."""
        more = classes - len(self.counts)
        self.means = np.concatenate([self.means, np.zeros((more, self.means.shape[1]))])
        self.counts = np.concatenate([self.counts, np.zeros(more)])

    def add(self, x: NDArray[np.floating], label: int) -> None:
        """Learn from the features [f] of one image."""
        away = x - self.means[label]
        n = self._seen
        delta = np.outer(away, away) * (n / (n + 1))
        self.covariance = (n * self.covariance + delta) / (n + 1)
        self.means[label] += away / (self.counts[label] + 1)
        self.counts[label] += 1
        self._seen += 1

    def scores(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return a score for each class, [n, classes]."""
        e, size = self._shrinkage, len(self.covariance)
        weights = np.linalg.solve(
            (1 - e) * self.covariance + e * np.eye(size), self.means.T
        )  # [f, classes]
        return x @ weights - 0.5 * (self.means.T * weights).sum(0)

    @property
    def nbytes(self) -> int:
        """Bytes as float32, as Avalanche keeps them."""
        return 4 * (self.means.size + self.counts.size + self.covariance.size)
