"""Train a classifier on labels only: a teacher, an independent student, fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pyedge.cloud.feed.networks import check_network
from pyedge.cloud.training.evaluate import Evaluation
from pyedge.cloud.training.history import TrainResult
from pyedge.cloud.training.launch import run
from pyedge.cloud.training.objectives import LabelObjective
from pyedge.cloud.training.train_options import TrainOptions, TrainSettings, with_overrides
from pyedge.cloud.weights.checks import check_float32
from pyedge.keywords import keywords

if TYPE_CHECKING:
    from typing_extensions import Unpack

RENAMED = {"val_loader": "val", "test_loader": "test"}


@keywords(fields=TrainOptions, renamed=RENAMED)
def train(
    model: nn.Module,
    loader: Any,
    *,
    val: Any = None,
    test: Any = None,
    score: Callable[[Evaluation], float] | None = None,
    options: TrainOptions | None = None,
    **overrides: Unpack[TrainSettings],
) -> TrainResult:
    """Train `model` in place on the labels of `loader`, a BatchLoader or any torch DataLoader.

    `loader` yields (images [n, c, h, w], labels [n]), also as longer tuples, or by name ("image",
    "label" and the like in a dict, a named tuple, a dataclass); labels are whole numbers of any
    type, one-hot rows, lists, columns of a table. Anything ambiguous is refused. A last batch of
    one image, which batch norm cannot learn from, is left out with a warning. Other keywords are
    fields of TrainOptions and override `options`. The weights kept are those of the best evaluation
    on `val` (by accuracy, or by `score` of its Evaluation), and `test` is evaluated with them, as
    in Sec. 5; both are loaders like `loader`. For several processes see TrainOptions and the guide
    of `ddp_spawn`: the script then needs the usual `if __name__ == "__main__":`.

    Raises DivergedError if a loss is not finite (the network keeps the weights of the last good
    evaluation), FormatError for a bad checkpoint, ValueError and TypeError for bad arguments,
    including a network that holds NaN or 16-bit weights.
    """
    check_network(model, "train")
    check_float32("train", "model", model, torch.float64)
    return run(
        "train",
        model,
        LabelObjective(),
        loader,
        with_overrides(options, dict(overrides)),
        val=val,
        test=test,
        score=score,
    )


@keywords(fields=TrainOptions, renamed=RENAMED)
def finetune(
    model: nn.Module,
    loader: Any,
    *,
    val: Any = None,
    test: Any = None,
    score: Callable[[Evaluation], float] | None = None,
    options: TrainOptions | None = None,
    **overrides: Unpack[TrainSettings],
) -> TrainResult:
    """Train as `train` does, but only the last convolution of each group and the classifier.

    This is the paper's baseline on the device: labels of new data and no teacher (Table 4,
    "without transfer"). `trainable="all"` and any other keyword of `train` may be given.
    """
    overrides.setdefault("trainable", "last_conv")
    return train(model, loader, val=val, test=test, score=score, options=options, **overrides)
