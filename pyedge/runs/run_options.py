"""RunOptions: settings of every training run, on the device or in the cloud, and learning rates.

Each field is also a keyword of the functions that take the options. The typed dicts next to the
classes tell editors and type checkers so; tests/project/test_signatures.py compares the two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, TypedDict, TypeVar

from pyedge.arguments import choice, flag, kind_of, plain_number, real, shown, whole
from pyedge.keywords import unknown_name

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("cosine", "cosine_epoch", "exponential", "steps", "constant")
BATCH_NORMS = ("batch", "frozen")
NORMS = ("batch", "image")

Options = TypeVar("Options", bound="RunOptions")
Lambdas = tuple[float, float, float]
DEFAULT_LAMBDAS: Lambdas = (1.0, 10.0, 1.0)


class RunSettings(TypedDict, total=False):
    """The fields of RunOptions as keywords, except `trainable`, whose type differs."""

    epochs: int
    steps: int | None
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    gamma: float | None
    milestones: tuple[int, ...]
    warmup_steps: int
    clip: float | None
    batch_norm: str
    eval_every: int | None
    patience: int | None
    keep_best: bool
    seed: int
    progress: bool
    checkpoint: str | PathLike[str] | None
    resume: bool


class LossSettings(TypedDict, total=False):
    """The fields of LossOptions as keywords."""

    lambdas: tuple[float, float, float]
    norms: str


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Hold what TrainOptions and LearnOptions share, and check it.

    A subclass adds fields, checks them in `_check`, and names in `without_effect` the fields that
    do not affect the resulting weights: a resumed run may change those.
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
    progress: bool = True
    checkpoint: str | PathLike[str] | None = None
    resume: bool = False

    without_effect: ClassVar[frozenset[str]] = frozenset({"progress", "checkpoint", "resume"})
    trainable_words: ClassVar[tuple[str, ...]] = ("all", "last_conv")

    def __post_init__(self) -> None:
        self._integer("epochs", 1)
        for name in ("steps", "eval_every", "patience"):
            self._integer(name, 1, optional=True)
        for name in ("warmup_steps", "seed"):
            self._integer(name, 0)
        for name in ("keep_best", "progress", "resume"):
            self._flag(name)
        self._choice("optimizer", OPTIMIZERS)
        self._choice("schedule", SCHEDULES)
        self._choice("batch_norm", BATCH_NORMS)
        self._number("lr", above=0.0)
        self._number("momentum", least=0.0, below=1.0)
        self._number("weight_decay", least=0.0)
        self._number("gamma", above=0.0, optional=True)
        self._number("clip", above=0.0, optional=True)
        self._set_trainable()
        self._set_milestones()
        if self.checkpoint is not None and not isinstance(self.checkpoint, (str, PathLike)):
            raise TypeError(
                f"{self._title}: checkpoint: wanted the path of a file, got "
                f"{shown(self.checkpoint)}"
            )
        if self.resume and self.checkpoint is None:
            raise ValueError(f"{self._title}: checkpoint: wanted the file to resume from, got None")
        self._check()

    @property
    def _title(self) -> str:
        return type(self).__name__

    def _check(self) -> None:
        """Check the fields of a subclass."""

    def _set_trainable(self) -> None:
        if isinstance(self.trainable, str):
            self._choice("trainable", self.trainable_words)
            return
        given: Any = self.trainable
        names = tuple(given) if isinstance(given, Iterable) else (given,)
        if not names or not all(isinstance(name, str) for name in names):
            words = ", ".join(f'"{word}"' for word in self.trainable_words)
            raise ValueError(
                f"{self._title}: trainable: wanted {words} or module names, got {shown(names)}"
            )
        object.__setattr__(self, "trainable", names)

    def _set_milestones(self) -> None:
        given: Any = self.milestones
        milestones = tuple(map(plain_number, given)) if isinstance(given, Iterable) else (None,)
        if any(isinstance(m, bool) or not isinstance(m, int) or m < 1 for m in milestones):
            raise ValueError(
                f"{self._title}: milestones: wanted epochs, whole numbers from 1, got "
                f"{shown(given)}"
            )
        if (self.schedule == "steps") != bool(milestones):
            raise ValueError(
                f'{self._title}: milestones: wanted some with schedule="steps" and none without, '
                f"got milestones={milestones} and schedule={self.schedule!r}"
            )
        object.__setattr__(self, "milestones", milestones)

    def _integer(self, name: str, least: int, *, optional: bool = False) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        object.__setattr__(self, name, whole(value, f"{self._title}: {name}", least))

    def _flag(self, name: str) -> None:
        value = flag(getattr(self, name), f"{self._title}: {name}")
        object.__setattr__(self, name, value)

    def _number(
        self,
        name: str,
        *,
        least: float | None = None,
        above: float | None = None,
        below: float | None = None,
        optional: bool = False,
    ) -> None:
        given = getattr(self, name)
        if given is None and optional:
            return
        where = f"{self._title}: {name}"
        object.__setattr__(self, name, real(given, where, least=least, above=above, below=below))

    def _choice(self, name: str, allowed: tuple[str, ...]) -> None:
        choice(getattr(self, name), f"{self._title}: {name}", allowed)

    def replace(self: Options, **overrides: Any) -> Options:
        """Return a copy with some fields changed. TypeError for a name that is not a field."""
        known = tuple(f.name for f in dataclasses.fields(self))
        for name in overrides:
            if name not in known:
                raise unknown_name(self._title, name, known)
        return dataclasses.replace(self, **overrides)

    def fingerprint(self) -> dict[str, str]:
        """Return what decides the result of a run, as text, to compare with a checkpoint."""
        return {
            f.name: repr(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if f.name not in self.without_effect
        }


@dataclass(frozen=True, kw_only=True)
class LossOptions(RunOptions):
    """Hold the settings of a student's losses, on both sides: the weights of J_1, J_b and J_3."""

    lambdas: tuple[float, float, float] = DEFAULT_LAMBDAS
    norms: str = "batch"

    def _check(self) -> None:
        super()._check()
        self._choice("norms", NORMS)
        try:
            values = tuple(float(value) for value in self.lambdas)
        except (TypeError, ValueError):
            values = ()
        if len(values) != 3 or not all(0 <= value < math.inf for value in values):
            raise ValueError(
                f"{self._title}: lambdas: wanted three finite weights from 0, of J_1, J_b and "
                f"J_3, got {shown(self.lambdas)}"
            )
        object.__setattr__(self, "lambdas", values)


def with_overrides(
    kind: type[Options], options: Options | None, overrides: dict[str, Any]
) -> Options:
    """Return `options` (default: the defaults), overridden by a caller's keywords."""
    if options is None:
        return kind(**overrides)
    if not isinstance(options, kind):
        raise TypeError(f"{kind.__name__}: options: wanted {kind.__name__}, got {kind_of(options)}")
    return options.replace(**overrides)


def learning_rate(
    options: RunOptions, step: int, epoch: int, total_steps: int, total_epochs: int
) -> float:
    """Return the learning rate of a step: a pure function, so a resumed run needs no state."""
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
