"""What bench/edge_step.py prints for people: a head, a line a student, and what stands behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.step.run import Settings

_COLUMNS = (
    ("student", "student", "{}"),
    ("step ms", "step_ms", "{:.1f}"),
    ("(spread)", "step_spread_ms", "({:.1f})"),
    ("vs literal", "vs_literal", "{:.2f}x"),
    ("vs best", "vs_best_torch", "{:.2f}x"),
    ("floor", "floor_fraction", "{:.0%}"),
    ("memory", "memory_ratio", "{:.2f}"),
    ("frozen time", "frozen_time_ratio", "{:.2f}"),
    ("frozen memory", "frozen_memory_ratio", "{:.2f}"),
    ("infer ms", "inference_ms", "{:.1f}"),
    ("vs torch", "inference_vs_torch", "{:.2f}x"),
    ("best torch", "best_torch", "{}"),
)


def head(facts: dict[str, Any], settings: Settings) -> str:
    """The machine, what was asked for, and the names of the columns."""
    lines = [f"{name}: {value}" for name, value in facts.items()]
    load = facts.get("load_average_before", 0.0)
    if load > settings.threads / 2:
        lines.append(
            f"warning: other programs run here (load average {load}). Rivals whose threads wait "
            "for each other by spinning suffer more from that than ours: do not quote these ratios"
        )
    lines.append(f"one step of {settings.batch} images, {settings.repeats} rounds")
    return "\n".join([*lines, "", "  ".join(title for title, _, _ in _COLUMNS)])


def line(row: dict[str, Any]) -> str:
    """One student's figures, and what was left out of them and why."""
    cells = []
    for title, key, form in _COLUMNS:
        text = "-" if row[key] is None else form.format(row[key])
        cells.append(text.ljust(len(title)) if key == "student" else text.rjust(len(title)))
    notes = [f"  without {what}: {why}" for what, why in row["left_out"].items()]
    return "\n".join(["  ".join(cells), *notes])


def tail(rows: Sequence[dict[str, Any]], start: dict[str, Any]) -> str:
    """Times and peaks of every contestant, the profile, and the time until a student is ready."""
    lines = []
    for row in rows:
        lines += ["", f"{row['student']}: {row['params']:,} parameters"]
        lines.append(f"  direct form at the machine's peak {row['direct_floor_ms']:.1f} ms")
        off = {k: v["gradients"] for k, v in row["checks"].items() if "gradients" in v}
        if off:
            listed = ", ".join(f"{label} {value:.1e}" for label, value in off.items())
            lines.append(f"  gradients off float64's by {listed}")
        for label, ms in row["times_ms"].items():
            memory = _memory(row["memory"].get(label, {}))
            lines.append(f"  {label:<20} {ms:>8.1f} ms ({row['spreads_ms'][label]:.1f}){memory}")
        for label, ms in row["inference_times_ms"].items():
            lines.append(f"  inference, {label:<20} {ms:>8.1f} ms")
        lines += _profile(row.get("profile"))
    parts = ", ".join(
        f"{name.removesuffix('_ms').replace('_', ' ')} {value:.0f} ms"
        for name, value in start.items()
        if name.endswith("_ms")
    )
    lines += ["", f"a fresh interpreter until {start['student']} is ready: {parts}"]
    return "\n".join(lines)


def _memory(found: dict[str, Any]) -> str:
    names = {"peak": "peak_bytes", "planned": "planned_bytes"}
    said = {what: found.get(name) for what, name in names.items()}
    return "".join(f", {what} {size / 2**20:.1f} MiB" for what, size in said.items() if size)


def _profile(entries: Sequence[tuple[str, str, float]] | None) -> list[str]:
    if not entries:
        return []
    total = sum(ms for _, _, ms in entries)
    phases: dict[str, float] = {}
    for _, phase, ms in entries:
        phases[phase] = phases.get(phase, 0.0) + ms
    parts = ", ".join(f"{phase} {ms:.1f}" for phase, ms in phases.items())
    lines = [f"  profile of one step, {total:.1f} ms: {parts}"]
    small = 0.0
    for name, phase, ms in sorted(entries, key=lambda entry: -entry[2]):
        if ms < 0.002 * total:
            small += ms
        else:
            lines.append(f"    {ms:>8.2f} ms {ms / total:>6.1%}  {phase:<16} {name}")
    return [*lines, f"    {small:>8.2f} ms {small / total:>6.1%}  the rest"]
