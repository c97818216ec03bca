"""LearnOptions: how a student learns on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pyedge.keywords import named_fields
from pyedge.runs import run_options
from pyedge.runs.run_options import LossOptions, LossSettings, RunOptions, RunSettings


class LearnSettings(RunSettings, LossSettings, total=False):
    """The fields of LearnOptions as keywords."""

    trainable: str | tuple[str, ...] | None
    batch_size: int
    warm_start: bool
    crop_padding: int
    flip: bool
    checkpoint_every: int


@named_fields
@dataclass(frozen=True, kw_only=True)
class LearnOptions(LossOptions):
    """Hold every setting of `EdgeLearner.learn`; the names are those of TransferOptions.

    Length: `epochs`, or `steps` if given, of `batch_size` images; the last batch of an epoch has
    what remains. `optimizer`, `lr`, `momentum`, `weight_decay`, `schedule` with its `gamma`,
    `milestones` and `warmup_steps`, and `clip`: as in TrainOptions, with a default `lr` that suits
    a device. With `warm_start` the optimizer goes on with the momentum that the last `learn` ended
    with, which `save` keeps; otherwise it begins with none.

    `lambdas` are the weights of J_1, J_b and J_3 (Sec. 4.1); `norms`: l2 norms of maps over the
    "batch" (the paper) or each "image".

    `trainable`: "last_conv" (the last convolution of each group and the classifier, Sec. 4.1),
    "classifier", "all", or names of layers; None: what the student's file says. `batch_norm`:
    "frozen" (running statistics, which do not change) or "batch" (batch statistics; the running
    ones are updated).

    `crop_padding` (pixels of shift) and `flip` change each image a little each time, as
    pyedge.data.Augment does; with knowledge the views of the pack do that instead.

    Validation runs after each epoch, or every `eval_every` steps; `patience` stops the run after
    that many evaluations without a better one, and with `keep_best` the weights of the best one are
    the result. `checkpoint` names a file that is written at each evaluation and every
    `checkpoint_every` steps; `resume=True` goes on from it if it exists, and gives the result of
    an uninterrupted run, bit for bit. `progress` shows a bar if standard error is a terminal.

    Raises ValueError for a value out of range and TypeError for one of another type; the message
    names the argument.
    """

    batch_size: int = 64
    lr: float = 0.01
    warm_start: bool = False
    trainable: str | tuple[str, ...] | None = None  # type: ignore[assignment]
    batch_norm: str = "frozen"
    crop_padding: int = 0
    flip: bool = False
    checkpoint_every: int = 20

    without_effect: ClassVar[frozenset[str]] = RunOptions.without_effect | {"checkpoint_every"}
    trainable_words: ClassVar[tuple[str, ...]] = ("all", "last_conv", "classifier")

    def _set_trainable(self) -> None:
        if self.trainable is not None:
            super()._set_trainable()

    def _check(self) -> None:
        super()._check()
        self._integer("batch_size", 1)
        self._integer("crop_padding", 0)
        self._integer("checkpoint_every", 1)
        self._flag("warm_start")
        self._flag("flip")


def with_overrides(options: LearnOptions | None, overrides: dict[str, Any]) -> LearnOptions:
    """Return `options` (default: `LearnOptions()`), overridden by a caller's keywords."""
    return run_options.with_overrides(LearnOptions, options, overrides)
