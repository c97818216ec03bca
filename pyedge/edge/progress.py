"""The progress bar of a run, on a terminal's last line, in plain characters."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

_WIDTH = 20
_PAUSE = 0.1  # seconds between two drawings: more often than that nobody reads


class ProgressBar:
    """Show a run's progress on standard error; silent unless that is a terminal."""

    def __init__(
        self,
        title: str,
        total: int,
        done: int = 0,
        *,
        shown: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._total = total
        self._first = done  # a resumed run's speed is that of its own steps
        self._stream = sys.stderr if stream is None else stream
        # a process without a terminal may have no standard error at all
        self.shown = shown and self._stream is not None and self._stream.isatty()
        self._clock = clock
        self._began = self._drawn = clock()
        self._validation = ""
        self._best = -math.inf
        self._length = 0

    def update(self, step: int, parts: Mapping[str, float], pairs: Sequence[int]) -> None:
        """Show the state after `step` steps: loss parts, and the teacher blocks chosen."""
        now = self._clock()
        if not self.shown or (now - self._drawn < _PAUSE and step < self._total):
            return
        self._drawn = now
        full = _WIDTH * step // max(1, self._total)
        words = [
            f"{self._title} [{'=' * full}{' ' * (_WIDTH - full)}] {step}/{self._total}",
            self._time_left(step, now),
            *(f"{name} {value:.3f}" for name, value in parts.items()),
        ]
        if pairs:
            words.append("blocks " + " ".join(str(k) for k in pairs))
        self._draw("  ".join(words) + self._validation)

    def validated(self, accuracy: float, score: float) -> None:
        """Remember the last validation for the next lines, and the best score so far."""
        self._best = max(self._best, score)
        self._validation = f"  val {accuracy:.4f} (best {self._best:.4f})"

    def close(self) -> None:
        """Leave the last state on the screen, and go to the next line."""
        if self._length:
            self._stream.write("\n")
            self._stream.flush()
            self._length = 0

    def _time_left(self, step: int, now: float) -> str:
        steps = step - self._first
        if steps < 1:
            return "--:-- left"
        return f"{as_time((now - self._began) / steps * (self._total - step))} left"

    def _draw(self, line: str) -> None:
        line = line[: shutil.get_terminal_size().columns - 1]  # a longer one would leave its trace
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)


def as_time(seconds: float) -> str:
    """Write 75 seconds as 1:15, and hours as 2:03:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
