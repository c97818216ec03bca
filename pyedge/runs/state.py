"""RunState: the state of a training run, and which of its weights are the best."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyedge.runs.run_options import RunOptions


@dataclass
class RunState:
    """The state of a run; a checkpoint holds all of it."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    history: list[dict[str, Any]] = field(default_factory=list)
    best_score: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    waited: int = 0
    stopped_early: bool = False
    seconds: float = 0.0

    def judge(self, score: float | None, epoch: int, options: RunOptions) -> bool:
        """Record an evaluation, and tell whether to keep the present weights.

        `score` None: there was nothing to validate on, and the last weights are the best. Sets
        `stopped_early` if too many evaluations were no better.
        """
        better = score is None or self.best_score is None or score > self.best_score
        if better:
            self.best_score = score
        self.waited = 0 if better else self.waited + 1
        if options.patience is not None and self.waited >= options.patience:
            self.stopped_early = True
        kept = better or not options.keep_best
        if kept:
            self.best_epoch, self.best_step = epoch, self.step
        return kept
