"""From the jobs' results to the report: means and spreads over seeds, and tables of them."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pyedge
from pyedge import kernels
from pyedge.cloud.tables import count, text_table
from pyedge.demo.presets import Preset

INCREMENTAL = (
    "before",
    "transfer",
    "finetune",
    "replay",
    "statistics",
    "statistics_transfer",
    "joint",
)
UNSEEN = ("inherited", "transfer", "fresh", "independent", "fitnet")
TORCH = {"incremental": ("transfer", "finetune"), "unseen": ("transfer", "fresh")}
EXPLAINED = {
    "before": "before the new images",
    "transfer": "with transfer",
    "finetune": "without transfer",
    "replay": "replay of a few old images",
    "statistics": "from statistics",
    "statistics_transfer": "statistics, then transfer",
    "joint": "joint, all old images too",
    "inherited": "as cut, nothing learned",
    "fresh": "transfer, fresh weights",
    "independent": "labels, no teacher",
    "fitnet": "FitNet (torch)",
}


def summarise(
    results: dict[str, list[dict[str, Any]]], preset: Preset, seeds: Sequence[int], data: str
) -> dict[str, Any]:
    """The report: plain numbers, the mean over seeds under each name, the spread under *_std."""
    teachers, compressions = results["teacher"], results["compression"]
    rows = []
    for place, P in enumerate(preset.thresholds):
        runs = [each["rows"][place] for each in compressions]
        row: dict[str, Any] = {"P": P}
        for key in ("accuracy", "independent", "cut", "params", "macs", "ratio"):
            row.update(_spread(key, [run[key] for run in runs]))
        rows.append(row)
    incremental: dict[str, Any] = {
        way: _spreads([run[way] for run in results["incremental"]]) for way in INCREMENTAL
    }
    incremental["torch"] = {
        way: _spreads([run["torch"][way] for run in results["incremental"]])
        for way in TORCH["incremental"]
    }
    unseen: dict[str, Any] = {"torch": {}}
    for way in UNSEEN:
        unseen.update(_spread(way, [run[way] for run in results["unseen"]]))
    for way in TORCH["unseen"]:
        unseen["torch"].update(_spread(way, [run["torch"][way] for run in results["unseen"]]))
    return {
        "data": data,
        "preset": preset.name,
        "seeds": list(seeds),
        "machine": machine(),
        "teacher": {
            **_spread("accuracy", [each["accuracy"] for each in teachers]),
            "params": teachers[0]["params"],
            "macs": compressions[0]["teacher_macs"],
        },
        "compression": rows,
        "incremental": {
            **incremental,
            "P": preset.device_threshold,
            "new_classes": [run["new"] for run in results["incremental"]],
        },
        "unseen": {
            **unseen,
            "P": preset.device_threshold,
            "seen_classes": [run["seen"] for run in results["unseen"]],
        },
        "seconds": {name: sum(run["seconds"] for run in runs) for name, runs in results.items()},
    }


def _spread(key: str, values: Sequence[float]) -> dict[str, Any]:
    """The mean under `key`, the sample deviation under key_std (0 for one seed), all values."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {key: float(np.mean(values)), f"{key}_std": std, f"{key}_seeds": list(values)}


def _spreads(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in ("old", "new", "mean", "weighted"):
        merged.update(_spread(key, [run[key] for run in runs]))
    return merged


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "processor": _processor(),
        "isa": kernels.isa(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyedge": pyedge.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cell(entry: dict[str, Any], key: str) -> str:
    """A share as per cent, with its spread over seeds."""
    value = entry[key]
    if value is None or math.isnan(value):
        return "-"
    spread = entry[f"{key}_std"]
    many = len(entry[f"{key}_seeds"]) > 1
    return f"{100 * value:.1f} ± {100 * spread:.1f}" if many else f"{100 * value:.1f}"


def compression_rows(report: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the compression table."""
    teacher = report["teacher"]
    header = ("", "parameters", "ratio", "MACs", "as cut", "labels alone", "with transfer")
    rows: list[tuple[str, ...]] = [
        (
            "teacher",
            count(teacher["params"]),
            "1",
            count(teacher["macs"]),
            "",
            cell(teacher, "accuracy"),
            "",
        )
    ]
    for row in report["compression"]:
        rows.append(
            (
                f"P = {row['P']:g}",
                count(row["params"]),
                f"{row['ratio']:.1f}",
                count(row["macs"]),
                cell(row, "cut"),
                cell(row, "independent"),
                cell(row, "accuracy"),
            )
        )
    return header, rows


def incremental_rows(report: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the table of a new category."""
    found = report["incremental"]
    entries = [(EXPLAINED[way], found[way]) for way in INCREMENTAL]
    entries += [(_in_torch(way), found["torch"][way]) for way in TORCH["incremental"]]
    keys = ("old", "new", "mean", "weighted")
    rows = [(name, *(cell(entry, key) for key in keys)) for name, entry in entries]
    return ("", *keys), rows


def incremental_verdict(report: dict[str, Any]) -> str:
    """Say which of the ways that a device can take is right most often over all categories."""
    found = report["incremental"]
    can = [way for way in INCREMENTAL if way != "joint"]
    best = max(can, key=lambda way: found[way]["weighted"])
    return (
        f"Right most often over all categories: {EXPLAINED[best]} "
        f"({cell(found[best], 'weighted')}; joint training {cell(found['joint'], 'weighted')})"
    )


def unseen_rows(report: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the table of unseen categories."""
    found = report["unseen"]
    rows: list[tuple[str, ...]] = [(EXPLAINED[way], cell(found, way)) for way in UNSEEN]
    rows += [(_in_torch(way), cell(found["torch"], way)) for way in TORCH["unseen"]]
    return ("", "unseen"), rows


def _in_torch(way: str) -> str:
    """Return the name of the row for the same in torch."""
    return f"{EXPLAINED[way]} (torch)"


def as_text(report: dict[str, Any]) -> str:
    """The report's tables for the terminal. All accuracies are per cent of test images."""
    seeds = len(report["seeds"])
    spread = f", mean ± deviation over {seeds} seeds" if seeds > 1 else ", one seed"
    P = report["unseen"]["P"]
    return "\n".join(
        [
            f"Accuracy on held-out images, per cent{spread}",
            "",
            "Compression by zero activations",
            text_table(*compression_rows(report)),
            "",
            "What follows is learned on the edge engine, in a process without torch, from what the",
            "teacher has recorded; rows marked (torch) are the same in torch, for comparison.",
            "",
            f"A new category, from its images alone (student of P = {P:g})",
            text_table(*incremental_rows(report)),
            incremental_verdict(report),
            "",
            f"Unseen categories, from images of two others (student of P = {P:g})",
            text_table(*unseen_rows(report)),
        ]
    )
