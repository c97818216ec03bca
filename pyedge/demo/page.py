"""report.html: one file for people, with its pictures inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyedge.classes.matching import listing
from pyedge.demo.figures import as_png, figure_compression, figure_incremental, figure_unseen
from pyedge.demo.summary import (
    compression_rows,
    incremental_rows,
    incremental_verdict,
    unseen_rows,
)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a202c; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e2e8f0; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; } pre { overflow-x: auto; font-size: .8rem; }
.note { color: #4a5568; font-size: .9rem; }
"""

_PICTURES = (
    ("zero_fractions", "How much of each filter's activation map is zero, on average"),
    ("activation_maps", "What each filter of a layer answers to one image (Figure 1 of the paper)"),
    ("costs", "Parameters and multiply-accumulates for every threshold"),
)


def write_page(report: dict[str, Any], table: str, pictures: Path) -> str:
    """The page as text. table: the plan of the device's student; pictures: folder of PNG files."""
    seeds = len(report["seeds"])
    counts = report["images"]
    P = report["unseen"]["P"]
    spread = f"mean ± deviation over {seeds} seeds" if seeds > 1 else "one seed"
    new = _names(report, [ids[0] for ids in report["incremental"]["new_classes"]])
    seen = "; ".join(_names(report, pair) for pair in report["unseen"]["seen_classes"])
    parts = [
        "<h1>From a teacher to a student that keeps learning</h1>",
        _p(
            f"Data: {report['data']}, {counts['train']} images to train, {counts['val']} to choose "
            f"by, {counts['test']} held out. All accuracies are of the held-out images, in per "
            f"cent, {spread}."
        ),
        "<h2>Compression by zero activations</h2>",
        _p(
            "A filter can go when at least a share P of its activation map is zero. One block "
            "stays in each group of the teacher. “As cut” is the student before any training, with "
            "the teacher's weights; the last two columns train it equally long."
        ),
        _table(*compression_rows(report)),
        _image(as_png(figure_compression(report)), "accuracy against parameters"),
        f"<h2>A new category, without losing the old ones (P = {P:g})</h2>",
        _p(
            "The student learnt all categories but one, then sees only images of the missing one "
            f"(here: {new}). Both ways take the same steps, rate and layers (the last convolution "
            "of each group and the classifier) and are measured after the last step. With transfer "
            "the teacher, which knows the new category, is followed instead of the labels. The "
            "student learns on the edge engine, in a process that has no torch, from what the "
            "teacher has recorded about the images; rows marked (torch) are the same in torch. "
            "From statistics it takes no step: the file holds sums of the old categories' "
            "features, the device adds those of the new images, and one solve gives the "
            "classifier. Replay has a few images of each old category, joint training all of them."
        ),
        _table(*incremental_rows(report)),
        _p(incremental_verdict(report) + "."),
        _image(as_png(figure_incremental(report)), "old and new categories"),
        f"<h2>Categories never shown (P = {P:g})</h2>",
        _p(
            f"The device has images of two categories only ({seen}); asked are all others, with "
            "every category as a possible answer. Transfer uses no labels. The weights of a "
            "student cut from a teacher have, inside the teacher, seen every category: the first "
            "row shows what they are worth before any learning, and “fresh weights” what transfer "
            "does for a student that starts from nothing."
        ),
        _table(*unseen_rows(report)),
        _image(as_png(figure_unseen(report)), "unseen categories"),
        f"<h2>The student of P = {P:g}</h2>",
        f"<pre>{html.escape(table)}</pre>",
    ]
    for name, title in _PICTURES:
        path = pictures / f"{name}.png"
        if path.exists():
            parts += [_p(title), _image(path.read_bytes(), title)]
    parts += ["<h2>Where these figures come from</h2>", _facts(report)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>pyedge demo</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _names(report: dict[str, Any], ids: Sequence[int]) -> str:
    return listing([report["classes"][each] for each in ids], len(ids))


def _p(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(header, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return f'<p><img alt="{html.escape(alt)}" src="data:image/png;base64,{data}"></p>'


def _facts(report: dict[str, Any]) -> str:
    machine = report["machine"]
    facts = [
        ("command", report["command"]),
        ("processor", f"{machine['processor']} ({machine['isa']} kernels)"),
        ("system", machine["system"]),
        ("versions", f"pyedge {machine['pyedge']}, torch {machine['torch']}"),
        ("seeds", ", ".join(map(str, report["seeds"]))),
    ]
    return _table(("", ""), facts)
