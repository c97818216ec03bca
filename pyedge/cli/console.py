"""A command's output: its result on standard output, everything else on standard error.

`pyedge.cli.streams` makes both accept any text.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any

from pyedge.cli.streams import ascii_bytes, discard, visible


class Console:
    """Where a command writes. With `as_json`, standard output gets one JSON object alone."""

    def __init__(self, prog: str, *, as_json: bool = False, quiet: bool = False) -> None:
        self.prog = prog
        self.as_json = as_json
        self.quiet = quiet
        self.closed = False  # standard output: whoever started the command wants no result

    def note(self, text: str) -> None:
        """Report progress on standard error, unless --quiet."""
        if not self.quiet:
            print(visible(text), file=sys.stderr, flush=True)

    def fail(self, text: str) -> None:
        """Report on one line of standard error why the command failed.

        A table, which follows an empty line in `text`, keeps its lines.
        """
        # blanks inside a line stay, since names may have them
        line, _, table = text.partition("\n\n")
        line = f"{self.prog}: error: {' '.join(map(str.strip, line.splitlines()))}"
        print(visible("\n".join([line, *table.splitlines()])), file=sys.stderr, flush=True)

    def result(self, text: str, content: dict[str, Any]) -> None:
        """Print the result: the text for people, the content for machines, in ASCII.

        Raises OSError if standard output cannot be written, unless its reader has left, as `head`
        does.
        """
        if self.closed:
            print(f"{self.prog}: note: standard output is closed", file=sys.stderr, flush=True)
            return
        try:
            if self.as_json:
                ascii_bytes(sys.stdout)
                print(json.dumps(plain(content), allow_nan=False), flush=True)
            else:
                print(visible(text), flush=True)
        except OSError as error:
            discard(sys.stdout)
            if not isinstance(error, BrokenPipeError):
                raise OSError(f"the result cannot be written to standard output: {error}") from None

    @staticmethod
    def sayable(text: str) -> str:
        """Return text for a table, with escapes for what standard output cannot show."""
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        line = "".join(repr(c)[1:-1] if c < " " else c for c in text)
        return visible(line).encode(encoding, "backslashreplace").decode(encoding)

    @property
    def shows_bar(self) -> bool:
        """Whether a progress bar is wanted; it appears on terminals only."""
        return not self.quiet and sys.stderr.isatty()


class EvaluationLog:
    """Write one line for each validation, if a progress bar would only fill a log file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._count = 0

    def add(self, accuracy: float, loss: float) -> None:
        """Write a validation."""
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
    """Write a share for people: 93.4 %."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f} %"
