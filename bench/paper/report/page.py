"""The report as one HTML page that needs no other file: tables, plots, Figure 1."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.paper.report.columns import COLUMNS, cell, has_paper, paper_cell
from bench.paper.report.gathered import Gathered, Line
from bench.paper.report.markdown import best_recipe, not_run, origin
from bench.paper.report.plots import COLOURS, Bar, Point, bars, scatter
from bench.paper.report.told import ASKS, GROUPS, SCALES, TITLES

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .6rem 0 1rem; font-size: 14px; }
.wide { overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8884; text-align: right; }
th:first-child, td:first-child { text-align: left; }
td + td { white-space: nowrap; }
td.paper, th.paper { color: #7a808a; }
tr.ours td:first-child { font-style: italic; }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: currentColor; }
.origin, .waiting { font-size: 13px; color: #7a808a; }
.key span { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }
img { max-width: 100%; background: #fff; }
"""
_BARS = {"table3": "steps", "table4": "weighted", "table5": "weighted", "table6": "seconds",
         "table7": "unseen"}  # fmt: skip
_POINTS = {"table1": "parameters", "table2": "bytes"}


def page(tables: Sequence[Gathered], missing: Sequence[str]) -> str:
    """Write the page; missing: the tables of which nothing was run at any scale."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>The paper's tables</title><style>{_STYLE}</style>",
        "<h1>The paper's tables</h1>",
        "<p>Mean ± sample deviation over seeds. Rows of ours, which the paper has not, are in "
        "italics.</p>",
        f'<p class="key">{"".join(_key(*each) for each in _KEYS)}</p>',
    ]
    for scale in dict.fromkeys(each.scale for each in tables):
        name, _, told = SCALES[scale].partition(": ")
        parts += [f"<h2>{escape(name)}</h2>", f"<p>{escape(told)}</p>"]
        parts += [_table(each) for each in tables if each.scale == scale]
    if missing:
        names = "; ".join(TITLES[name] for name in missing)
        parts.append(f"<h2>Not run yet</h2><p>{escape(names)}.</p>")
    return "\n".join(parts) + "\n"


_KEYS = (("theirs", "our run of a row of the paper"), ("ours", "ours"),
         ("paper", "the paper's own figure"))  # fmt: skip


def _key(kind: str, told: str) -> str:
    return f'<span style="background:{COLOURS[kind]}"></span>{escape(told)}'


def _table(found: Gathered) -> str:
    parts = [f"<h3>{escape(TITLES[found.table])}</h3>", f"<p>{escape(ASKS[found.table])}</p>"]
    for group in found.groups():
        lines = [line for line in found.of(group) if line.seeds]
        if not lines:
            continue
        if found.table not in COLUMNS:
            parts += [_picture(line) for line in lines]
            continue
        parts.append(f"<h4>{escape(GROUPS[group])}</h4>")
        parts += [_plot(found.table, lines), _rows(found.table, lines)]
        parts.append(f"<p>{escape(best_recipe(found.table, lines))}</p>")
    if found.waiting:
        parts.append(f'<p class="waiting">Not run yet: {escape(not_run(found))}.</p>')
    parts.append(f'<p class="origin">{escape(origin(found)).replace("`", "")}</p>')
    return "\n".join(parts)


def _picture(line: Line) -> str:
    png = next(iter(line.seeds.values()))["png"]
    return f'<img alt="{escape(line.name)}" src="data:image/png;base64,{png}">'


def _kind(line: Line) -> str:
    return "ours" if line.ours else "theirs"


def _plot(table: str, lines: list[Line]) -> str:
    if table in _POINTS:
        key = _POINTS[table]
        points = []
        for line in lines:
            x, y = line.mean(key), line.mean("accuracy")
            if x is not None and y is not None:
                points.append(Point(line.name, x, y, _kind(line)))
            if key in line.paper and "accuracy" in line.paper:
                x, y = line.paper[key], line.paper["accuracy"]
                points.append(Point(f"the paper, {line.name}", x, y, "paper"))
        return scatter(points, key, "accuracy, per cent")
    key = _BARS[table]
    rows = []
    for line in lines:
        value = line.mean(key)
        if value is not None:
            # other machines' seconds, and steps of other schedules, would hide the bars
            paper = line.paper.get(key) if key in ("weighted", "unseen") else None
            rows.append(Bar(line.name, value, line.deviation(key) or 0.0, _kind(line), paper))
    title = next(column.title for column in COLUMNS[table] if column.key == key)
    return bars(rows, title) if rows else ""


def _rows(table: str, lines: list[Line]) -> str:
    columns = COLUMNS[table]
    head = ["<th>row</th><th>seeds</th>"]
    for column in columns:
        head.append(f"<th>{escape(column.title)}</th>")
        if has_paper(lines, column):
            head.append('<th class="paper">paper</th>')
    body = []
    for line in lines:
        cells = [f"<td>{escape(line.name)}</td><td>{len(line.seeds)}</td>"]
        for column in columns:
            cells.append(f"<td>{escape(cell(line, column))}</td>")
            if has_paper(lines, column):
                cells.append(f'<td class="paper">{escape(paper_cell(line, column))}</td>')
        shown = ' class="ours"' if line.ours else ""
        body.append(f"<tr{shown}>{''.join(cells)}</tr>")
    return (
        f'<div class="wide"><table><tr>{"".join(head)}</tr>\n'
        + "\n".join(body)
        + "\n</table></div>"
    )
