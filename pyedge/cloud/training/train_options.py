"""TrainOptions: how a network is trained; TransferOptions: how a student is taught besides."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from pyedge.keywords import named_fields
from pyedge.runs import run_options
from pyedge.runs.run_options import (
    LossOptions,
    LossSettings,
    RunOptions,
    RunSettings,
    learning_rate,
)

__all__ = [
    "TrainOptions",
    "TrainSettings",
    "TransferOptions",
    "TransferSettings",
    "learning_rate",
    "transfer_options",
    "with_overrides",
]

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
PADDINGS = ("kept", "end")


class TrainSettings(RunSettings, total=False):
    """The fields of TrainOptions as keywords."""

    trainable: str | tuple[str, ...]
    precision: str
    accelerator: str
    devices: int | str
    strategy: str
    channels_last: bool


class TransferSettings(TrainSettings, LossSettings, total=False):
    """The fields of TransferOptions as keywords."""

    padding: str
    teacher_batch_norm: str


@named_fields
@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """Hold every setting of a training run; the defaults, except length, are Sec. 5's for CIFAR-10.

    Length: `epochs`, or `steps` if given. Optimizer: `optimizer` "sgd" (Nesterov, `momentum`, no
    dampening) or "adam", with `lr` and `weight_decay`. `schedule`: "cosine" falls at each step,
    "cosine_epoch" at each epoch (the paper's), "exponential" by `gamma` (default 0.98) each epoch,
    "steps" by `gamma` (default 0.1) at each epoch in `milestones`, "constant". The first
    `warmup_steps` rise linearly to `lr`. `clip` is the largest gradient norm, None for no clipping.

    `trainable`: "all", "last_conv" (the last convolution of each group and the classifier, Sec.
    4.1), or a tuple of module names. `batch_norm`: "batch" (batch statistics) or "frozen" (running
    statistics, which do not change).

    Validation runs after each epoch, or every `eval_every` steps. `patience` stops the run after
    that many evaluations without a better one. With `keep_best` the weights of the best evaluation
    are the result, otherwise the last. `checkpoint` names a file written at each evaluation;
    `resume=True` goes on from it if it exists, and gives the result of an uninterrupted run, bit
    for bit (on a CPU).

    `precision`, `accelerator`, `devices` and `strategy` go to Lightning Fabric. "32-true" does not
    change the weights' type. `channels_last` trains in that memory layout, which is mostly faster
    on a CPU. `progress` shows a bar if the output is a terminal.

    Raises ValueError for a value out of range and TypeError for one of another type; the message
    names the argument.
    """

    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    channels_last: bool = False

    without_effect: ClassVar[frozenset[str]] = RunOptions.without_effect | {
        "accelerator",
        "devices",
        "strategy",
    }

    def _check(self) -> None:
        super()._check()
        self._choice("precision", PRECISIONS)
        self._flag("channels_last")


@named_fields
@dataclass(frozen=True, kw_only=True)
class TransferOptions(TrainOptions, LossOptions):
    """Hold every setting of `pyedge.transfer`: those of TrainOptions, and how the teacher teaches.

    `lambdas` are the weights of J_1, J_b and J_3 (Sec. 4.1), and `norms`: l2 norms over the "batch"
    (the paper) or each "image"; a device's LearnOptions have both. `padding`: which of the
    teacher's channels the student's are compared with: "kept", those of the filters that survived
    (better on unseen categories), or "end", the first ones (the paper). `teacher_batch_norm`:
    "frozen" running statistics, or those of the "batch" as in the authors' runs.
    """

    padding: str = "kept"
    teacher_batch_norm: str = "frozen"

    # a checkpoint has these from the objective
    without_effect: ClassVar[frozenset[str]] = TrainOptions.without_effect | {
        "lambdas",
        "norms",
        "padding",
        "teacher_batch_norm",
    }

    def _check(self) -> None:
        super()._check()
        self._choice("padding", PADDINGS)
        self._choice("teacher_batch_norm", run_options.BATCH_NORMS)


def with_overrides(options: TrainOptions | None, overrides: dict[str, Any]) -> TrainOptions:
    """Return `options` (default: `TrainOptions()`), overridden by a caller's keywords."""
    return run_options.with_overrides(TrainOptions, options, overrides)


def transfer_options(options: TrainOptions | None, overrides: dict[str, Any]) -> TransferOptions:
    """Return `options` as TransferOptions, overridden likewise; missing fields get defaults."""
    if isinstance(options, TrainOptions) and not isinstance(options, TransferOptions):
        fields = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
        return TransferOptions(**{**fields, **overrides})
    return run_options.with_overrides(TransferOptions, options, overrides)
