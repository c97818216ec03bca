"""The history of a training run: loss parts and chosen pairs between evaluations, the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyedge.cloud.training.evaluate import Evaluation
from pyedge.runs.loss_window import Window


@dataclass
class TrainResult:
    """Hold the outcome of `train`, `transfer` or `fitnet`; the weights are in the network.

    `history` has one row for each evaluation: step, epoch, lr, seconds, loss, its parts by name,
    `pairs` (for each group, how often each teacher block was chosen), and val_accuracy, val_loss,
    val_score if there was a validation set. `best_epoch` and `best_step` tell which evaluation's
    weights the network has now, `best_score` its score; `test` is the evaluation of those weights
    on the test set (Sec. 5: test accuracy at the best validation epoch). `stages` holds the results
    of earlier stages (FitNet's hint).
    """

    history: list[dict[str, Any]]
    best_epoch: int
    best_step: int
    best_score: float | None
    test: Evaluation | None
    steps: int
    seconds: float
    stopped_early: bool
    stages: tuple[TrainResult, ...] = ()

    @property
    def test_accuracy(self) -> float | None:
        """The accuracy on the test set; None without one."""
        return None if self.test is None else self.test.accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts, ready for JSON."""
        return {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_step": self.best_step,
            "best_score": self.best_score,
            "test_accuracy": self.test_accuracy,
            "test": None if self.test is None else self.test.to_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "stopped_early": self.stopped_early,
            "stages": [stage.to_dict() for stage in self.stages],
        }


class Diary:
    """Collect the loss parts of the steps, and read them from the device now and then.

    Reading waits for the device. A CPU is read at every step, so that a loss that is not finite
    stops the run before it reaches the weights; an accelerator every 20 steps.
    """

    def __init__(self, read_every: int) -> None:
        self.window = Window()
        self._read_every = read_every
        self._pending: list[tuple[int, tuple[str, ...], Tensor, tuple[int, ...]]] = []
        self.latest: dict[str, float] = {}
        self.latest_pairs: tuple[int, ...] = ()

    def add(
        self, step: int, names: tuple[str, ...], values: Tensor, pairs: tuple[int, ...]
    ) -> tuple[int, str] | None:
        """Record a step; return (step, name) of the first read value that is not finite."""
        self._pending.append((step, names, values, pairs))
        return self.read() if len(self._pending) >= self._read_every else None

    def read(self) -> tuple[int, str] | None:
        """Read what is pending; return (step, name) of the first value that is not finite."""
        pending, self._pending = self._pending, []
        for step, names, values, pairs in pending:
            numbers = dict(zip(names, values.tolist(), strict=True))
            for name, value in numbers.items():
                if not math.isfinite(value):
                    return step, name
            numbers.pop("gradient", None)
            self.window.add(numbers, pairs)
            self.latest, self.latest_pairs = numbers, pairs
        return None

    def close_window(self) -> Window:
        """Return the window and begin another."""
        window, self.window = self.window, Window()
        return window
