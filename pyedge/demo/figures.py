"""The report's own figures: accuracy against size, and what transfer keeps."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

from pyedge.cloud.tables import count
from pyedge.demo.summary import EXPLAINED, INCREMENTAL, UNSEEN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, GREEN = "#2b6cb0", "#dd6b20", "#718096", "#2f855a"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def as_png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def figure_compression(report: dict[str, Any]) -> Figure:
    """Accuracy against parameters, for each way to train."""
    figure = _figure(7, 3.6)
    axes = figure.add_subplot()
    rows = report["compression"]
    params = [row["params"] for row in rows]
    for key, name, color in (
        ("accuracy", "with transfer", BLUE),
        ("independent", "labels alone", ORANGE),
        ("cut", "as cut", GREY),
    ):
        values = [100 * row[key] for row in rows]
        errors = [100 * row[f"{key}_std"] for row in rows]
        axes.errorbar(
            params, values, errors, label=name, color=color, marker="o", markersize=4, capsize=3
        )
    teacher = report["teacher"]
    axes.plot([teacher["params"]], [100 * teacher["accuracy"]], "k*", markersize=11)
    axes.annotate(
        "teacher",
        (teacher["params"], 100 * teacher["accuracy"]),
        fontsize=8,
        ha="right",
        va="top",
        xytext=(-8, -3),
        textcoords="offset points",
    )
    for label, row in _labels(rows):
        axes.annotate(
            label,
            (row["params"], 100 * max(row["accuracy"], row["independent"])),
            fontsize=7,
            ha="center",
            xytext=(0, 9),
            textcoords="offset points",
        )
    axes.set_ylim(top=108)
    axes.set_xscale("log")
    ticks = sorted({*params, teacher["params"]})
    axes.set_xticks([ticks[0], teacher["params"]], [count(ticks[0]), count(teacher["params"])])
    axes.set_xlabel("parameters")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _labels(rows: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """One label for each size: thresholds that cut next to the same share it."""
    labels: list[tuple[list[str], dict[str, Any]]] = []
    for row in rows:
        if labels and row["params"] > 0.9 * labels[-1][1]["params"]:
            labels[-1][0].append(f"{row['P']:g}")
        else:
            labels.append(([f"{row['P']:g}"], row))
    return [("P = " + ", ".join(names), row) for names, row in labels]


def figure_incremental(report: dict[str, Any]) -> Figure:
    """Old and new categories, before and after learning the new one."""
    figure = _figure(8, 3.4)
    axes = figure.add_subplot()
    for offset, key, color in ((-0.2, "old", BLUE), (0.2, "new", ORANGE)):
        entries = [report["incremental"][way] for way in INCREMENTAL]
        _bars(axes, entries, [key] * len(entries), offset, 0.38, color, f"{key} categories")
    names = [textwrap.fill(EXPLAINED[way], 14) for way in INCREMENTAL]
    axes.set_xticks(range(len(INCREMENTAL)), names, fontsize=8)
    axes.set_ylim(0, 130)
    axes.legend(fontsize=8, loc="upper center", ncols=2)
    return figure


def figure_unseen(report: dict[str, Any]) -> Figure:
    """Accuracy on categories that were never shown, for each way to train."""
    figure = _figure(6, 3)
    axes = figure.add_subplot()
    _bars(axes, [report["unseen"]] * len(UNSEEN), UNSEEN, 0, 0.6, GREEN, "")
    chance = 100 / len(report["classes"])
    axes.axhline(chance, color="black", linewidth=0.8, linestyle="--")
    axes.text(3, chance + 1.5, "chance", fontsize=7, ha="center")  # over the bar that is 0
    names = [EXPLAINED[way].replace(", ", ",\n") for way in UNSEEN]
    axes.set_xticks(range(len(UNSEEN)), names, fontsize=8)
    return figure


def _bars(
    axes: Axes,
    entries: Any,
    keys: Any,
    offset: float,
    width: float,
    color: str,
    label: str,
) -> None:
    values = [100 * entry[key] for entry, key in zip(entries, keys, strict=True)]
    errors = [100 * entry[f"{key}_std"] for entry, key in zip(entries, keys, strict=True)]
    places = [place + offset for place in range(len(values))]
    bars = axes.bar(places, values, width, yerr=errors, color=color, label=label, capsize=3)
    axes.bar_label(bars, [f"{value:.0f}" for value in values], fontsize=8, padding=2)
    axes.set_ylim(0, 112)
    axes.set_ylabel("accuracy, %")
