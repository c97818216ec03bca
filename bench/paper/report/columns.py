"""The columns of each table, and how their figures are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.paper.report.gathered import Line


@dataclass(frozen=True)
class Column:
    """key: a figure's name. paper: whether the paper has it, in a column of its own."""

    key: str
    title: str
    write: Callable[[float], str]
    paper: bool = False


def _percent(value: float) -> str:
    return f"{value:.1f}"


def _millions(value: float) -> str:
    return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,.0f}"


def _bytes(value: float) -> str:
    return f"{value / 1e6:.2f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


_ACCURACY = Column("accuracy", "accuracy", _percent, True)
_LAST = Column("last", "at the last evaluation", _percent)
_VAL = Column("val", "validation", _percent)
_PARAMETERS = Column("parameters", "parameters", _millions, True)
_LEARNED = (
    Column("old", "old", _percent, True),
    Column("new", "new", _percent, True),
    Column("mean", "mean of the two", _percent, True),
    Column("weighted", "all images", _percent, True),
)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "table1": (
        _ACCURACY,
        _LAST,
        _VAL,
        _PARAMETERS,
        Column("ratio", "times smaller", lambda value: f"{value:.1f}"),
    ),
    "table2": (_ACCURACY, _LAST, _PARAMETERS, Column("bytes", "bytes", _bytes, True)),
    "table3": (
        Column("steps", "steps", _number, True),
        Column("steps_to_alone", "steps to labels alone", _number),
        Column("steps_to_goal", "to four times as many", _number),
        _ACCURACY,
    ),
    "table4": _LEARNED,
    "table5": _LEARNED,
    "table6": (
        Column("trainable", "learns", _millions, True),
        Column("seconds", "seconds to learn", _seconds, True),
        Column("inference_seconds", "seconds a batch", _seconds, True),
        Column("memory_bytes", "memory", _bytes),
    ),
    "table7": (
        Column("unseen", "unseen classes", _percent, True),
        Column("seen", "seen classes", _percent),
        Column("teacher", "teacher on the unseen", _percent),
    ),
}


def cell(line: Line, column: Column) -> str:
    """Write a figure with its deviation over seeds; "never" where it was looked for in vain."""
    mean = line.mean(column.key)
    runs = [each for each in line.seeds.values() if column.key in each]
    if mean is None:
        return "never" if runs else ""
    deviation = line.deviation(column.key)
    spread = "" if not deviation else f" ± {column.write(deviation)}"
    with_one = len(line.values(column.key))
    share = "" if with_one == len(runs) else f" ({with_one} of {len(runs)} seeds)"
    return column.write(mean) + spread + share


def paper_cell(line: Line, column: Column) -> str:
    """Write the paper's figure; empty where it has none."""
    value = line.paper.get(column.key)
    return "" if value is None else column.write(value)


def has_paper(lines: list[Line], column: Column) -> bool:
    """Tell whether the paper has this figure for any of these rows."""
    return column.paper and any(column.key in line.paper for line in lines)
