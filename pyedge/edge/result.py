"""The state of a run of the learner, and its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyedge.runs.loss_window import Window
from pyedge.runs.state import RunState


@dataclass(frozen=True)
class LearnResult:
    """Hold the outcome of `EdgeLearner.learn`.

    `history` has one row for each evaluation: step, epoch, lr, seconds, loss, its parts by name,
    `pairs` (for each group, how often each teacher block was chosen), and val_accuracy, val_loss,
    val_score if there were images to validate on. `best_epoch` and `best_step` tell which weights
    the learner has now, `best_score` their score. `batch_size` is what was used: less than asked
    for if max_memory had no room for more.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    best_step: int
    best_score: float | None
    steps: int
    seconds: float
    stopped_early: bool
    batch_size: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts, ready for JSON."""
        return dict(vars(self))


@dataclass
class LearnState(RunState):
    """The state of a run of the learner, as plain values."""

    done: bool = False
    window: Window = field(default_factory=Window)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**vars(self), "window": self.window.to_dict()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], total: int, batches: int) -> LearnState:
        """Make the state from its dict; TypeError, KeyError or ValueError if it is not one.

        `total` (steps) and `batches` (an epoch) are those of the run that is to go on.
        """
        plain = {**content, "window": Window.from_dict(content["window"])}
        for each in dataclasses.fields(cls):
            value, kind = plain[each.name], type(each.default)
            if kind in (int, bool) and type(value) is not kind:
                raise TypeError(f"{each.name} is {value!r}")
        state = cls(**plain)
        if not (0 <= state.step <= total and 0 <= state.batch < batches and state.epoch >= 0):
            raise ValueError(f"step {state.step} of {total}, batch {state.batch} of {batches}")
        return state

    def result(self, batch_size: int) -> LearnResult:
        """Return the outcome of a run that ended in this state."""
        return LearnResult(
            self.history,
            self.best_epoch,
            self.best_step,
            self.best_score,
            self.step,
            self.seconds,
            self.stopped_early,
            batch_size,
        )
