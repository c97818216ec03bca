"""When a training has converged, as Table 3 counts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def converged_at(history: Sequence[Mapping[str, Any]]) -> int:
    """Return the step of the best validation accuracy, the first of equal ones.

    Table 3's figures are multiples of an epoch's 390 steps: the paper reads convergence off once an
    epoch, as here at each evaluation. Raises ValueError without an evaluation.
    """
    rows = [row for row in history if "val_accuracy" in row]
    if not rows:
        raise ValueError("converged_at: history: wanted an evaluation, got none")
    return int(max(rows, key=lambda row: (row["val_accuracy"], -row["step"]))["step"])


def reached_at(history: Sequence[Mapping[str, Any]], accuracy: float) -> int | None:
    """Return the step at which a validation accuracy is first reached; None if it never is.

    The fairer count: a run that goes on getting better is not called slow for it.
    """
    steps = (row["step"] for row in history if row.get("val_accuracy", -1.0) >= accuracy)
    return next(map(int, steps), None)
