"""The progress bar of a training run: loss parts, chosen pairs, ETA."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class TrainingBar:
    """Show a run's progress on standard error; silent unless that is a terminal."""

    def __init__(self, title: str, total: int | None, shown: bool) -> None:
        console = Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self.shown = not self._progress.disable
        self._task = self._progress.add_task(title, total=total, state="")
        self._validation = ""
        self._best = -math.inf

    def __enter__(self) -> TrainingBar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, step: int, parts: Mapping[str, float], pairs: Sequence[int]) -> None:
        """Show the state after `step` steps."""
        if not self.shown:
            return
        state = " ".join(f"{name} {value:.3f}" for name, value in parts.items())
        if pairs:
            state += "  blocks " + " ".join(str(k) for k in pairs)
        self._progress.update(self._task, completed=step, state=state + self._validation)

    def validated(self, accuracy: float, score: float) -> None:
        """Remember the last validation for the next lines, and the best score so far."""
        self._best = max(self._best, score)
        self._validation = f"  val {accuracy:.4f} (best {self._best:.4f})"
