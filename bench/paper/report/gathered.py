"""What has been recorded, in the order of the tables' rows, with what has not been run yet."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.paper.report.published import Figures, published
from bench.paper.rows import Workshops
from bench.paper.slices import Slice


@dataclass(frozen=True)
class Line:
    """A row of a table. seeds: by seed; none if it has not been run. paper: the paper's figures."""

    group: str
    name: str
    ours: bool
    seeds: Mapping[str, Mapping[str, Any]]
    paper: Figures

    def mean(self, column: str) -> float | None:
        """The mean of a figure over the seeds; None where it has none."""
        values = self.values(column)
        return statistics.fmean(values) if values else None

    def deviation(self, column: str) -> float | None:
        """The sample deviation; None for fewer than two seeds."""
        values = self.values(column)
        return statistics.stdev(values) if len(values) > 1 else None

    def values(self, column: str) -> list[float]:
        """The figures of the seeds that have one."""
        found = (each.get(column) for each in self.seeds.values())
        return [float(each) for each in found if each is not None]


@dataclass(frozen=True)
class Gathered:
    """A table at a scale."""

    table: str
    scale: str
    lines: list[Line]
    origins: list[dict[str, Any]] = field(default_factory=list)

    @property
    def waiting(self) -> list[Line]:
        """The rows that have not been run."""
        return [line for line in self.lines if not line.seeds]

    def groups(self) -> list[str]:
        """The groups, in the order of the rows."""
        return list(dict.fromkeys(line.group for line in self.lines))

    def of(self, group: str) -> list[Line]:
        """The rows of a group."""
        return [line for line in self.lines if line.group == group]


def gather(folder: Path, table: str, scale: str) -> Gathered | None:
    """Read a table's figures; None where nothing of it was run.

    Raises ValueError for a file that is no table.
    """
    path = folder / f"{table}_{scale}.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        recorded = {(row["group"], row["name"]): row for row in content["rows"]}
        origins = list(content["origins"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"report: {path}: wanted recorded figures: {error}") from error
    unused = Path(), Path(), Path(), Slice(None), print
    rows = import_module(f"bench.paper.{table}").rows(Workshops(scale, *unused))
    lines = []
    for row in rows:
        found = recorded.get((row.group, row.name), {"seeds": {}})
        paper = published(table, row.group, row.name)
        lines.append(Line(row.group, row.name, row.ours, found["seeds"], paper))
    return Gathered(table, scale, lines, origins)
