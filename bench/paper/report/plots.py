"""Plots as SVG text, without a library: points over a logarithmic scale, and bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 720
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 16, 44
_HEIGHT = 320
_BAR, _GAP, _NAMES = 15, 7, 330
COLOURS = {"paper": "#8a8f98", "theirs": "#2f6db5", "ours": "#d9730d"}


class Point(NamedTuple):
    """kind: "paper" (its own figure), "theirs" (our run of a row of the paper) or "ours"."""

    name: str
    x: float
    y: float
    kind: str


class Bar(NamedTuple):
    """spread: the deviation, 0 for none. paper: the paper's figure, None for none."""

    name: str
    value: float
    spread: float
    kind: str
    paper: float | None


def scatter(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """Draw points over log x; points of one number of x are told by their titles."""
    logs = [math.log10(each.x) for each in points]
    low, high = math.floor(min(logs)), math.ceil(max(logs) + 1e-9)
    ys = [each.y for each in points]
    bottom, top = 10 * math.floor(min(ys) / 10), 10 * math.ceil(max(ys) / 10 + 1e-9)
    inner = WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low) / (high - low)
        up = (y - bottom) / (top - bottom)
        return _LEFT + across * inner[0], _TOP + (1 - up) * inner[1]

    parts = []
    for power in range(low, high + 1):
        x, _ = place(10**power, bottom)
        parts.append(_line(x, _TOP, x, _HEIGHT - _BOTTOM))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 16, _short(10**power), "middle"))
    step = 10 if top - bottom <= 60 else 20
    for value in range(bottom, top + 1, step):
        _, y = place(10**low, value)
        parts.append(_line(_LEFT, y, WIDTH - _RIGHT, y))
        parts.append(_text(_LEFT - 8, y + 4, str(value), "end"))
    for point in points:
        x, y = place(point.x, point.y)
        hollow = point.kind == "paper"
        colour = COLOURS[point.kind]
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{"none" if hollow else colour}" '
            f'stroke="{colour}" stroke-width="2"><title>{escape(point.name)}: '
            f"{point.y:.1f}</title></circle>"
        )
    parts.append(_text(WIDTH / 2, _HEIGHT - 8, x_title, "middle"))
    parts.append(
        f'<text x="14" y="{_HEIGHT / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {_HEIGHT / 2:.0f})">{escape(y_title)}</text>'
    )
    return _svg(_HEIGHT, parts)


def bars(rows: Sequence[Bar], title: str) -> str:
    """Draw a bar a row, its deviation, and a grey mark where the paper's figure is."""
    most = max(max(bar.value + bar.spread, bar.paper or 0.0) for bar in rows)
    scale = (WIDTH - _NAMES - 70) / (most or 1.0)
    parts, y = [_text(_NAMES, 14, title, "start")], 24.0
    for bar in rows:
        end = _NAMES + bar.value * scale
        parts.append(_text(_NAMES - 8, y + 12, bar.name, "end"))
        parts.append(
            f'<rect x="{_NAMES}" y="{y:.1f}" width="{max(end - _NAMES, 0.5):.1f}" '
            f'height="{_BAR}" fill="{COLOURS[bar.kind]}"/>'
        )
        if bar.spread:
            reach, middle = bar.spread * scale, y + _BAR / 2
            parts.append(
                f'<line x1="{end - reach:.1f}" y1="{middle:.1f}" x2="{end + reach:.1f}" '
                f'y2="{middle:.1f}" stroke="#222" stroke-width="1.5"/>'
            )
        far = end
        if bar.paper is not None:
            x = _NAMES + bar.paper * scale
            far = max(far, x)
            parts.append(
                f'<line x1="{x:.1f}" y1="{y - 2:.1f}" x2="{x:.1f}" y2="{y + _BAR + 2:.1f}" '
                f'stroke="{COLOURS["paper"]}" stroke-width="3"><title>the paper: {bar.paper:g}'
                "</title></line>"
            )
        label = far + bar.spread * scale + 6
        parts.append(_text(label, y + 12, _short(bar.value), "start"))
        y += _BAR + _GAP
    return _svg(y + 6, parts)


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (size if unit != 'k' else 1e3):g}{unit}"
    return f"{value:.1f}".removesuffix(".0")


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#8884" '
        'stroke-width="1"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" '
        f'role="img" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
