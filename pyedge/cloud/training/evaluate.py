"""Evaluate a classifier: its confusion matrix and its loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyedge.classes.matching import classes_of
from pyedge.cloud.feed.batch import Source, images_of, labels_of, logits_of, split
from pyedge.cloud.feed.failures import fail_in_network
from pyedge.cloud.feed.loaders import Feed, check_loader, nothing, peek
from pyedge.cloud.feed.networks import check_network
from pyedge.cloud.graph.clone import unwrap
from pyedge.cloud.graph.modes import evaluating
from pyedge.cloud.recorded_accuracy import compare_accuracy
from pyedge.cloud.shown import Watch, compare_classes, compare_preprocessing
from pyedge.cloud.training.distributed import sum_over_processes
from pyedge.cloud.training.losses import as_logits
from pyedge.cloud.weights.checks import like_weights
from pyedge.keywords import keywords
from pyedge.runs.evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]


@keywords()
def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    device: torch.device | str | None = None,
    distributed: bool = False,
) -> Evaluation:
    """Classify every image of `loader`, which yields (images [n, c, h, w], labels [n]).

    Runs in evaluation mode without gradients and restores the mode. `device` defaults to that of
    the weights; images are converted to the weights' dtype. With `distributed=True` each process of
    the default group evaluates its part, and all get the whole result. Warns where a network of
    `load_network` is right far less often than its file records, and names what may be the reason.
    Raises ValueError for a loader without images, labels outside the network's classes, or a
    network that holds NaN; TypeError for anything but a network, a loader and its batches (see
    `feed.batch`).
    """
    found = evaluated(model, loader, device=device, distributed=distributed)
    compare_accuracy(model, found, "evaluate", classes_of(loader))
    return found


def evaluated(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    device: torch.device | str | None = None,
    distributed: bool = False,
) -> Evaluation:
    """Evaluate as `evaluate` does, for a caller that compares with the file's record itself."""
    check_network(model, "evaluate")
    source = Source("evaluate")
    check_loader(loader, source)
    compare_classes(model, classes_of(loader), "evaluate: loader")
    compare_preprocessing(model, loader, "evaluate")
    return evaluate_from(model, loader, source, device=device, distributed=distributed)


def evaluate_from(
    model: nn.Module,
    loader: Iterable[Any],
    source: Source,
    *,
    device: torch.device | str | None = None,
    distributed: bool = False,
) -> Evaluation:
    """Do the work of `evaluate` for a network in training, whose weights are not checked.

    Errors begin with the function and the argument of `source`.
    """
    device = _device_of(model) if device is None else torch.device(device)
    with evaluating(model), torch.no_grad():
        confusion, loss = _confusion(model, loader, source, device)
    confusion = sum_over_processes(confusion, distributed)
    loss = sum_over_processes(loss, distributed)
    if not int(confusion.sum()):
        raise ValueError(f"{source} yields no images")
    return Evaluation(confusion.cpu(), float(loss) / int(confusion.sum()))


def _confusion(
    model: nn.Module, loader: Iterable[Any], source: Source, device: torch.device
) -> tuple[Tensor, Tensor]:
    # lazily: importing torchmetrics takes longer than a small evaluation
    from torchmetrics.classification import MulticlassConfusionMatrix

    metric: MulticlassConfusionMatrix | None = None
    loss = torch.zeros((), dtype=torch.float64, device=device)
    title = source.title if source.argument == "loader" else str(source)
    watch = Watch(model, title, learns=False)
    for batch in Feed(loader, source):
        given, told = split(batch, source)
        images = images_of(given, source)
        if not len(images):
            continue
        watch.look(images)
        logits = as_logits(answer(model, images, source, device).float())
        labels = labels_of(told, len(images), source, logits.shape[1])
        labels = labels.to(device, non_blocking=True)
        if metric is None:
            metric = MulticlassConfusionMatrix(
                logits.shape[1], validate_args=False, sync_on_compute=False
            ).to(device)
        metric.update(logits.argmax(1), labels)
        loss += F.cross_entropy(logits, labels, reduction="sum").double()
    if metric is None:
        raise ValueError(nothing(loader, source, "images"))
    return metric.compute().long(), loss


def answer(model: nn.Module, images: Tensor, source: Source, device: torch.device) -> Tensor:
    """Return a network's logits [n, classes] for a batch of images."""
    x = like_weights(images.to(device, non_blocking=True), model)
    try:
        output = model(x)
    except Exception as error:
        fail_in_network(error, source, tuple(images.shape))
    return logits_of(output, len(images), source.title)


def count_classes(model: nn.Module, images: Tensor, source: Source, device: torch.device) -> int:
    """Count the network's classes with two images in evaluation mode, which changes nothing."""
    plain = unwrap(model)  # torch.compile would compile for these two
    with evaluating(plain), torch.no_grad(), torch.random.fork_rng([]):
        return answer(plain, images[:2], source, device).shape[1]


def check_first_batch(model: nn.Module, loader: Any, source: Source, device: torch.device) -> Any:
    """Check the first batch of a loader that is to be evaluated later, and return the loader.

    An iterator is returned with its first batch put back. Raises what evaluating would raise.
    """
    batch, loader = peek(loader, source)
    given, told = split(batch, source)
    images = images_of(given, source)
    if len(images):
        labels_of(told, len(images), source, count_classes(model, images, source, device))
    return loader


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
