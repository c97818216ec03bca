"""Evaluate a classifier: accuracy by class, confusion, loss, and the subsets the paper reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyedge.cloud.training.distributed import sum_over_processes


@dataclass(frozen=True)
class Evaluation:
    """Hold what a classifier did on labelled images; everything follows from the confusion.

    `confusion` [classes, classes] int64 counts images by true class (row) and predicted class.
    `loss` is the mean cross entropy.
    """

    confusion: Tensor
    loss: float

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
        """Return the accuracy on the images of some classes, the argmax taken over all classes.

        This is how old, new and unseen categories are scored: the network may answer with any
        class. NaN where no image belongs to them. Raises ValueError for a class out of range.
        """
        index = sorted(set(classes))
        total = self.confusion.shape[0]
        for c in index:
            if not 0 <= c < total:
                raise ValueError(f"accuracy_on: classes must lie in 0..{total - 1}, got {c}")
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


def _share(right: Tensor, of: Tensor) -> float:
    return float(right) / float(of) if float(of) else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    device: torch.device | str | None = None,
    distributed: bool = False,
) -> Evaluation:
    """Classify every image of `loader`, which yields (images [n, c, h, w], int64 labels [n]).

    Runs in evaluation mode without gradients and restores the mode. `device` defaults to that of
    the weights. With `distributed=True` each process of the default group evaluates its part and
    all of them get the whole. Raises ValueError for a loader without images, or labels outside the
    network's classes.
    """
    device = _device_of(model) if device is None else torch.device(device)
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            confusion, loss = _confusion(model, loader, device)
    finally:
        for module, mode in modes:
            module.training = mode
    confusion = sum_over_processes(confusion, distributed)
    loss = sum_over_processes(loss, distributed)
    if not int(confusion.sum()):
        raise ValueError("evaluate: loader yields no images")
    return Evaluation(confusion.cpu(), float(loss) / int(confusion.sum()))


def _confusion(
    model: nn.Module, loader: Iterable[Any], device: torch.device
) -> tuple[Tensor, Tensor]:
    # lazily: importing torchmetrics takes longer than a small evaluation
    from torchmetrics.classification import MulticlassConfusionMatrix

    metric: MulticlassConfusionMatrix | None = None
    loss = torch.zeros((), dtype=torch.float64, device=device)
    for images, labels in loader:
        logits = model(images.to(device, non_blocking=True)).float()
        labels = labels.to(device, non_blocking=True)
        if metric is None:
            metric = MulticlassConfusionMatrix(
                logits.shape[1], validate_args=False, sync_on_compute=False
            ).to(device)
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
            raise ValueError(
                f"evaluate: labels must lie in 0..{logits.shape[1] - 1}, the network's classes, "
                f"got {int(labels.min())}..{int(labels.max())}"
            )
        metric.update(logits.argmax(1), labels)
        loss += F.cross_entropy(logits, labels, reduction="sum").double()
    if metric is None:
        raise ValueError("evaluate: loader yields no images")
    return metric.compute().long(), loss


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
