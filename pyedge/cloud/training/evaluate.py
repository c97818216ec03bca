"""Evaluate a classifier: what it took for what, and its loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyedge.cloud.shown import Watch
from pyedge.cloud.training.distributed import sum_over_processes
from pyedge.cloud.training.losses import as_logits
from pyedge.cloud.weights.checks import check_weights, like_weights
from pyedge.evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    device: torch.device | str | None = None,
    distributed: bool = False,
) -> Evaluation:
    """Classify every image of `loader`, which yields (images [n, c, h, w], int64 labels [n]).

    Runs in evaluation mode without gradients and restores the mode. `device` defaults to that of
    the weights, whose dtype the images get. With `distributed=True` each process of the default
    group evaluates its part and all of them get the whole. Raises ValueError for a loader without
    images, labels outside the network's classes, or a network that holds NaN.
    """
    check_weights("evaluate", "model", model)
    return measured(model, loader, device=device, distributed=distributed)


def measured(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    device: torch.device | str | None = None,
    distributed: bool = False,
) -> Evaluation:
    """Do what `evaluate` does, for a network that is being trained: its weights are not checked."""
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
    watch = Watch(model, "evaluate", learns=False)
    for images, labels in loader:
        watch.look(images)
        images = like_weights(images.to(device, non_blocking=True), model)
        logits = as_logits(model(images).float())
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
