"""Files of recorded figures, `bench/results/paper/<table>_<scale>.json`.

One file holds a table at a scale; each row has the figures of each seed, and tells by which
command, at which commit, on which machine and which images they were made. A file is written whole
after each seed of each row, so that hours of runs can be stopped and resumed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyedge.files.atomic import write_atomically

DEFAULT_FOLDER = Path("bench/results/paper")


class Results:
    """The figures of a table at a scale; origin: of what is added now."""

    def __init__(self, folder: Path, table: str, scale: str, origin: Mapping[str, Any]) -> None:
        """Read the file where it is there. Raises ValueError for a file that is something else."""
        self.path = folder / f"{table}_{scale}.json"
        self._table, self._scale, self._origin = table, scale, dict(origin)
        self.origins: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            try:
                found = json.loads(self.path.read_text())
                self.origins, self.rows = list(found["origins"]), list(found["rows"])
                if (found["table"], found["scale"]) != (table, scale):
                    raise ValueError(f"it is {found['table']} at {found['scale']}")
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"bench.paper: {self.path}: wanted the figures of {table}: {error}"
                ) from error

    def has(self, group: str, name: str, seed: int) -> bool:
        """Tell whether a row has the figures of a seed."""
        row = self._row(group, name)
        return row is not None and str(seed) in row["seeds"]

    def add(
        self, group: str, name: str, seed: int, figures: Mapping[str, Any], *, ours: bool,
        data: str,
    ) -> None:  # fmt: skip
        """Put the figures of a seed into a row, and write the file."""
        origin = {**self._origin, "data": data}
        if origin not in self.origins:
            self.origins.append(origin)
        row = self._row(group, name)
        if row is None:
            row = {"group": group, "name": name, "ours": ours, "seeds": {}}
            self.rows.append(row)
        row["seeds"][str(seed)] = {**figures, "origin": self.origins.index(origin)}
        content = {
            "table": self._table,
            "scale": self._scale,
            "origins": self.origins,
            "rows": self.rows,
        }
        text = json.dumps(content, indent=1) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, lambda file: file.write(text.encode()))

    def _row(self, group: str, name: str) -> dict[str, Any] | None:
        same = (row for row in self.rows if (row["group"], row["name"]) == (group, name))
        return next(same, None)


def commit() -> str:
    """Return the commit that runs, with "+" if the working tree differs; "unknown" without git."""
    where = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=where, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!bench/results")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
