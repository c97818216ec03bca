"""TrainOptions: how a network is trained, whatever it is trained on; and its learning rates."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from os import PathLike

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("cosine", "cosine_epoch", "exponential", "steps", "constant")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
# Fields that do not change what the weights become: a resumed run may set them anew.
_WITHOUT_EFFECT = frozenset(
    {"progress", "checkpoint", "resume", "accelerator", "devices", "strategy"}
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Hold every setting of a training run; the defaults are Sec. 5's for CIFAR-10, but for length.

    Length: `epochs`, or `steps` if given. Optimizer: `optimizer` "sgd" (Nesterov, `momentum`, no
    dampening) or "adam", with `lr` and `weight_decay`. `schedule`: "cosine" falls at each step,
    "cosine_epoch" at each epoch (the paper's), "exponential" by `gamma` (default 0.98) an epoch,
    "steps" by `gamma` (default 0.1) at each epoch in `milestones`, "constant". `warmup_steps` rise
    linearly to `lr` first. `clip` is the largest gradient norm, None for no clipping.

    `trainable`: "all", "last_conv" (the last convolution of each group and the classifier, Sec.
    4.1), or a tuple of module names. `batch_norm`: "batch" (batch statistics) or "frozen" (running
    statistics, which stay as they are).

    Validation runs after each epoch, or every `eval_every` steps. `patience` stops the run after
    so many evaluations without a better one. With `keep_best` the weights of the best evaluation
    are the result, otherwise the last. `checkpoint` names a file written at each evaluation;
    `resume=True` goes on from it if it is there, and ends in the bits of an uninterrupted run
    (CPU).

    `precision`, `accelerator`, `devices` and `strategy` go to Lightning Fabric. "32-true" leaves
    the weights' type as it is. `channels_last` trains in that memory layout, which is mostly faster
    on a CPU. `progress` shows a bar where the output is a terminal.

    Raises ValueError for a value out of range and TypeError for one of another type; the message
    names the argument.
    """

    epochs: int = 10
    steps: int | None = None
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    gamma: float | None = None
    milestones: tuple[int, ...] = ()
    warmup_steps: int = 0
    clip: float | None = 5.0
    trainable: str | tuple[str, ...] = "all"
    batch_norm: str = "batch"
    eval_every: int | None = None
    patience: int | None = None
    keep_best: bool = True
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    channels_last: bool = False
    progress: bool = True
    checkpoint: str | PathLike[str] | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "eval_every", "patience"):
            self._integer(name, 1)
        for name in ("warmup_steps", "seed"):
            self._integer(name, 0)
        self._choice("optimizer", OPTIMIZERS)
        self._choice("schedule", SCHEDULES)
        self._choice("precision", PRECISIONS)
        self._choice("batch_norm", ("batch", "frozen"))
        self._number("lr", above=0.0)
        self._number("momentum", least=0.0, below=1.0)
        self._number("weight_decay", least=0.0)
        self._number("gamma", above=0.0)
        self._number("clip", above=0.0)
        self._set_trainable()
        self._set_milestones()
        if self.resume and self.checkpoint is None:
            raise ValueError("TrainOptions: resume needs checkpoint, the file to go on from")

    def _set_trainable(self) -> None:
        if isinstance(self.trainable, str):
            self._choice("trainable", ("all", "last_conv"))
            return
        names = tuple(self.trainable)
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f'TrainOptions: trainable must be "all", "last_conv" or module names, got {names!r}'
            )
        object.__setattr__(self, "trainable", names)

    def _set_milestones(self) -> None:
        milestones = tuple(self.milestones)
        if any(isinstance(m, bool) or not isinstance(m, int) or m < 1 for m in milestones):
            raise ValueError(
                f"TrainOptions: milestones must be epochs, whole numbers from 1, got {milestones}"
            )
        if (self.schedule == "steps") != bool(milestones):
            raise ValueError(
                'TrainOptions: milestones and schedule="steps" belong together, got '
                f"milestones={milestones} and schedule={self.schedule!r}"
            )
        object.__setattr__(self, "milestones", milestones)

    def _integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is None and name not in ("epochs", "warmup_steps", "seed"):
            return
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"TrainOptions: {name} must be a whole number, got {value!r}")
        if value < least:
            raise ValueError(f"TrainOptions: {name} must be at least {least}, got {value}")

    def _number(
        self,
        name: str,
        *,
        least: float = 0.0,
        above: float | None = None,
        below: float = math.inf,
    ) -> None:
        value = getattr(self, name)
        if value is None and name in ("gamma", "clip"):
            return
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"TrainOptions: {name} must be a number, got {value!r}")
        high_enough = value >= least if above is None else value > above
        if not (high_enough and value < below):
            wanted = f"at least {least}" if above is None else f"above {above}"
            raise ValueError(
                f"TrainOptions: {name} must be {wanted} and below {below}, got {value}"
            )

    def _choice(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise ValueError(f"TrainOptions: {name} must be one of {allowed}, got {value!r}")

    def replace(self, **overrides: object) -> TrainOptions:
        """Return a copy with some fields changed. Raises TypeError for a name that is no field."""
        known = {f.name for f in dataclasses.fields(self)}
        unknown = sorted(set(overrides) - known)
        if unknown:
            raise TypeError(
                f"TrainOptions: unknown {', '.join(unknown)}; the options are "
                f"{', '.join(sorted(known))}"
            )
        return dataclasses.replace(self, **overrides)  # type: ignore[arg-type]

    def fingerprint(self) -> dict[str, str]:
        """Return what decides the result of a run, as text, to compare with a checkpoint's."""
        return {
            f.name: repr(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if f.name not in _WITHOUT_EFFECT
        }


def with_overrides(options: TrainOptions | None, overrides: dict[str, object]) -> TrainOptions:
    """Return `options` (default: `TrainOptions()`) with the keywords of a caller laid over them."""
    if options is not None and not isinstance(options, TrainOptions):
        raise TypeError(f"options must be a TrainOptions, got {type(options).__name__}")
    return (options or TrainOptions()).replace(**overrides)


def learning_rate(
    options: TrainOptions, step: int, epoch: int, total_steps: int, total_epochs: int
) -> float:
    """Return the learning rate of a step: a pure function, so that a resumed run needs no state."""
    if step < options.warmup_steps:
        return options.lr * (step + 1) / (options.warmup_steps + 1)
    if options.schedule == "cosine":
        start = options.warmup_steps
        return options.lr * _cosine((step - start) / max(1, total_steps - start))
    if options.schedule == "cosine_epoch":
        return options.lr * _cosine(epoch / max(1, total_epochs))
    if options.schedule == "exponential":
        gamma = 0.98 if options.gamma is None else options.gamma
        return options.lr * gamma**epoch
    if options.schedule == "steps":
        gamma = 0.1 if options.gamma is None else options.gamma
        return options.lr * gamma ** sum(epoch >= m for m in options.milestones)
    return options.lr


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
