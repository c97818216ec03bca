"""The page at `/`: what the store holds and how the service does, as plain HTML."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape

from pyedge._version import __version__
from pyedge.serve.service import Service
from pyedge.serve.tokens import list_tokens

_LATEST = 50  # contributions and given images that are shown

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd;
         vertical-align: top; white-space: nowrap; }
td.t { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
th { font-weight: 600; } td.n, th.n { text-align: right; }
div { overflow-x: auto; }
.held { background: #fff3cd; } .muted { color: #666; }
"""


def page(service: Service) -> str:
    """Return the page; every name in it comes from devices, and is escaped."""
    students = [service.students.release(name) for name in service.students.names()]
    catalogue = [(s.name, each) for s in students for each in service.categories.list(s.name)]
    contributions = service.contributions.list()
    given = service.gifts.list()
    held = sum(each.state == "held" for each in contributions)
    latency = service.metrics.latency()
    parts = [
        _table(
            "Students",
            ("name~", "version#", "classes~", "images#", "contributions#", "bytes#", "teacher",
             "replaced by~"),
            [
                (s.name, s.version, ", ".join(s.classes), s.images, s.contributions, s.bytes,
                 "answers" if s.teacher else "-", s.replaced_by or "-")
                for s in students
            ],
        ),
        _table(
            "Categories",
            ("class~", "student~", "detail", "images#", "bytes#", "device~", "offered"),
            [
                (c.name, name, c.detail, c.images, c.bytes, c.device, _when(c.created))
                for name, c in catalogue
            ],
        ),
        _table(
            f"Contributions ({held} held for review)",
            ("digest", "student~", "device~", "classes~", "images#", "state", "why~", "received"),
            [
                (c.digest[:12], c.student, c.device, ", ".join(c.classes), c.images, c.state,
                 c.reason, _when(c.created))
                for c in reversed(contributions[-_LATEST:])
            ],
            marked=[c.state == "held" for c in reversed(contributions[-_LATEST:])],
        ),
        _table(
            f"Given images ({sum(g.images for g in given):,} in {len(given):,} files)",
            ("digest", "student~", "device~", "classes~", "images#", "bytes#", "received"),
            [
                (g.digest[:12], g.student, g.device,
                 ", ".join(f"{name} ({count})" for name, count in g.classes.items()), g.images,
                 g.bytes, _when(g.created))
                for g in reversed(given[-_LATEST:])
            ],
        ),
        _table(
            "Devices",
            ("name~", "token", "scopes", "since", "revoked"),
            [
                (d.name, d.id, ", ".join(sorted(d.scopes)), _when(d.created),
                 "-" if d.revoked is None else _when(d.revoked))
                for d in list_tokens(service.store.database)
            ],
        ),
        _table(
            "Latency since the start",
            ("route", "answers#", "median up to, ms#", "99 % up to, ms#"),
            [
                (route, count, f"{1000 * median:g}", f"{1000 * most:g}")
                for route, (count, median, most) in latency.items()
            ],
        ),
    ]  # fmt: skip
    queue = 0 if service.teaching is None else service.teaching.waiting()
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width">'
        f"<title>pyedge serve</title><style>{_STYLE}</style></head><body>"
        f"<h1>pyedge serve</h1><p class=muted>version {escape(__version__)}, {_when(time.time())}, "
        f"{queue} requests wait for the teacher</p>{''.join(parts)}</body></html>"
    )


def _table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    marked: Sequence[bool] = (),
) -> str:
    """Return a table; a head that ends in # is of a column of numbers, in ~ of long words."""
    classes = [{"#": " class=n", "~": " class=t"}.get(head[-1], "") for head in heads]
    head = "".join(
        f"<th{c}>{escape(h.rstrip('#~'))}</th>" for h, c in zip(heads, classes, strict=True)
    )
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(
            f"<td{c}>{escape(f'{v:,}' if isinstance(v, int) else str(v))}</td>"
            for v, c in zip(row, classes, strict=True)
        )
        held = number < len(marked) and marked[number]
        lines.append(f"<tr{' class=held' if held else ''}>{cells}</tr>")
    body = "".join(lines) or f"<tr><td class=muted colspan={len(heads)}>none yet</td></tr>"
    return f"<h2>{escape(title)}</h2><div><table><tr>{head}</tr>{body}</table></div>"


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
