"""The report as Markdown: docs/paper.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.paper.report.columns import COLUMNS, cell, has_paper, paper_cell
from bench.paper.report.gathered import Gathered, Line
from bench.paper.report.told import ASKS, GROUPS, SCALES, TITLES


def markdown(tables: Sequence[Gathered], missing: Sequence[str]) -> str:
    """Write all tables; missing: those of which nothing was run at any scale."""
    parts = [
        "# The paper's tables\n",
        "Written by `python -m bench.paper report` from the figures in `bench/results/paper`; "
        "`python -m bench.paper table1 --scale cpu` and so on run what is missing. Mean ± sample "
        "deviation over seeds. Rows of ours, which the paper has not, are in italics.\n",
    ]
    for scale in dict.fromkeys(each.scale for each in tables):
        parts.append(f"## {SCALES[scale].partition(':')[0]}\n")
        parts.append(f"{SCALES[scale].partition(': ')[2]}\n")
        for each in tables:
            if each.scale == scale:
                parts += _table(each)
    if missing:
        names = "; ".join(TITLES[name] for name in missing)
        parts += ["## Not run yet\n", f"{names}.\n"]
    return "\n".join(parts)


def _table(found: Gathered) -> list[str]:
    parts = [f"### {TITLES[found.table]}\n", f"{ASKS[found.table]}\n"]
    if found.table in COLUMNS:
        for group in found.groups():
            lines = [line for line in found.of(group) if line.seeds]
            if lines:
                parts += _group(found, group, lines)
    else:
        parts += [f"{_filters(line)}\n" for line in found.lines if line.seeds]
    waiting = found.waiting
    if waiting:
        parts.append(f"Not run yet: {not_run(found)}.\n")
    parts.append(f"{origin(found)}\n")
    return parts


def _group(found: Gathered, group: str, lines: list[Line]) -> list[str]:
    parts = [f"**{GROUPS[group]}**\n", *_rows(found.table, lines)]
    best = best_recipe(found.table, lines)
    return [*parts, "", *([f"{best}\n"] if best else [])]


def _rows(table: str, lines: list[Line]) -> list[str]:
    head, rule, rows = ["row", "seeds"], ["---", "---"], []
    columns = COLUMNS[table]
    for column in columns:
        head += [column.title, *(["paper"] if has_paper(lines, column) else [])]
    rule = ["---"] * len(head)
    for line in lines:
        cells = [f"*{line.name}*" if line.ours else line.name, str(len(line.seeds))]
        for column in columns:
            cells.append(cell(line, column))
            if has_paper(lines, column):
                cells.append(paper_cell(line, column))
        rows.append(cells)
    return [f"| {' | '.join(each)} |" for each in (head, rule, *rows)]


def best_recipe(table: str, lines: list[Line]) -> str:
    """Say which of our recipes is best on validation images; empty without two of them."""
    ours = [line for line in lines if line.ours and line.mean("val") is not None]
    if table != "table1" or len(ours) < 2:
        return ""
    best = max(ours, key=lambda line: line.mean("val") or 0.0)
    return f"Our recipe is the one that is best on validation images: {best.name}."


def not_run(found: Gathered) -> str:
    """Name the rows that have not been run, whole groups by the group."""
    names = []
    for group in found.groups():
        lines = found.of(group)
        waiting = [line.name for line in lines if not line.seeds]
        if len(waiting) == len(lines):
            names.append(f"all of {GROUPS[group]}")
        else:
            names += waiting
    return "; ".join(names)


def _filters(line: Line) -> str:
    figures = next(iter(line.seeds.values()))
    fractions = figures["zero_fractions"]
    most = sum(each >= 0.9 for each in fractions)
    return (
        f"`{figures['convolution']}` has {figures['filters']} filters; {most} of them are zero "
        "over nine tenths of their maps or more on average, and "
        f"{figures['kept']} stay in the smallest student. The picture is in the HTML page."
    )


def origin(found: Gathered) -> str:
    """Say by which command, where, at which commits and on which images."""
    commits = list(dict.fromkeys(each["commit"] for each in found.origins))
    machines = list(dict.fromkeys(_machine(each["machine"]) for each in found.origins))
    images = list(dict.fromkeys(each["data"] for each in found.origins))
    command = found.origins[0]["command"]
    return (
        f"`{command}`, commit {', '.join(commits)}; {'; '.join(machines)}; images "
        f"{', '.join(images)}."
    )


def _machine(facts: dict[str, Any]) -> str:
    gpu = f", {facts['gpu']}" if "gpu" in facts else ""
    return f"{facts['cpu']}, {facts['torch_threads']} thread(s){gpu}, torch {facts['torch']}"
