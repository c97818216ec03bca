"""What a command says: its result on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any


class Console:
    """Where a command writes. With `as_json`, standard output gets one JSON object, no more."""

    def __init__(self, prog: str, *, as_json: bool = False, quiet: bool = False) -> None:
        self.prog = prog
        self.as_json = as_json
        self.quiet = quiet

    def note(self, text: str) -> None:
        """Tell what goes on, on standard error, unless --quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def fail(self, text: str) -> None:
        """Tell on one line of standard error why nothing came of it.

        A table stays one: it comes behind an empty line in `text`.
        """
        line, _, table = text.partition("\n\n")
        line = f"{self.prog}: error: {' '.join(line.split())}"
        print("\n".join([line, *table.splitlines()]), file=sys.stderr, flush=True)

    def result(self, text: str, content: dict[str, Any]) -> None:
        """Print the result: the text for people, the content for machines."""
        if self.as_json:
            print(json.dumps(plain(content), allow_nan=False, ensure_ascii=False), flush=True)
        else:
            print(text, flush=True)

    @property
    def shows_bar(self) -> bool:
        """Whether a progress bar is wanted; it appears on terminals only."""
        return not self.quiet and sys.stderr.isatty()


class EvaluationLog:
    """One line for each validation, where a progress bar would only fill a log file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._count = 0

    def add(self, accuracy: float, loss: float) -> None:
        """Note a validation."""
        self._count += 1
        if not self._console.shows_bar:
            self._console.note(
                f"validation {self._count}: accuracy {accuracy:.4f}, loss {loss:.3f} "
                f"({time.monotonic() - self._began:.0f} s)"
            )


def plain(value: Any) -> Any:
    """Return a value as JSON has it: lists, dicts with text keys, null for NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def percent(share: float | None) -> str:
    """Write a share as people read it: 93.4 %."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f} %"
