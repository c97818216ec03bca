"""The table of `python -m bench.learning` for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PERCENT = (
    *("old", "new", "mean", "weighted", "average_incremental", "forgetting"),
    "calibration_error",
)
_TITLES = ("old", "new", "mean", "weighted", "average inc.", "forgetting", "ECE")


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a method: per cent with deviations over the seeds, seconds an experience, bytes."""
    if not rows:
        return "no rows"
    first = rows[0]
    wide = max(len(row["method"]) for row in rows)
    head = " ".join(f"{title:>13}" for title in _TITLES)
    lines = [
        f"{first['data']}, {first['protocol']}, {first['seeds']} seed(s), per cent of test images",
        f"{'':{wide}} {head} {'seconds':>8} {'kB kept':>9} {'kB sent':>9}",
    ]
    for row in rows:
        cells = " ".join(_cell(row, name) for name in _PERCENT)
        sizes = f"{row['bytes'] / 1e3:>9,.1f} {row['sent_bytes'] / 1e3:>9,.1f}"
        lines.append(f"{row['method']:{wide}} {cells} {row['seconds']:>8.2f} {sizes}")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any], name: str) -> str:
    if row.get(name) is None:
        return f"{'-':>13}"
    deviation = row.get(f"{name}_deviation")
    said = f"{row[name]:.1f}" if deviation is None else f"{row[name]:.1f} +- {deviation:.1f}"
    return f"{said:>13}"
