"""A file of rows that grows a method at a time, so that hours of runs can be stopped and resumed.

`bench/results/learning_*.json` are such files. A row says with how many seeds it was made; one that
another machine made says so in "machine".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.learning.registry import METHODS
from pyedge.files.atomic import write_atomically

Row = dict[str, Any]
_SAME_MACHINE = ("cpu", "cpus", "isa", "torch", "numpy", "threads")


class Recorded:
    """The rows of a file. facts: of the machine that adds rows now."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Read the file where it is there.

        Raises ValueError for a file that is no table of this benchmark.
        """
        self._path, self._facts = path, dict(facts)
        self.machine: dict[str, Any] = dict(facts)
        self.rows: list[Row] = []
        if path.exists():
            try:
                found = json.loads(path.read_text())
                self.machine, self.rows = dict(found["machine"]), list(found["rows"])
                self._sort()
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"bench.learning: {path} is no table of rows: {error}") from error

    def has(self, data: str, protocol: str, method: str, seeds: int) -> bool:
        """Tell whether the row is there, with so many seeds."""
        asked = (data, protocol, method, seeds)
        return any(
            (row["data"], row["protocol"], row["method"], row["seeds"]) == asked
            for row in self.rows
        )

    def add(self, row: Mapping[str, Any]) -> None:
        """Put a row in its place, over one of other seeds, and write the file."""
        own = {} if self._same_machine() else {"machine": self._facts}
        names = ("data", "protocol", "method")
        kept = [each for each in self.rows if any(each[name] != row[name] for name in names)]
        self.rows = [*kept, {**row, **own}]
        self._sort()
        text = json.dumps({"machine": self.machine, "rows": self.rows}, indent=1) + "\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, lambda file: file.write(text.encode()))

    def _same_machine(self) -> bool:
        return all(self.machine.get(name) == self._facts.get(name) for name in _SAME_MACHINE)

    def _sort(self) -> None:
        order = list(METHODS)
        self.rows.sort(key=lambda row: (row["data"], row["protocol"], order.index(row["method"])))
