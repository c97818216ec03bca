"""Every method of the table, by name: how it is made, and the settings that it may choose from.

A new method is one entry here. The settings are tried on validation images of the first seed, and
the best one is what every seed is then reported with.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.learning import torch_methods as torch_way
from bench.learning.engine_methods import (
    JointLastConvolutions,
    Labels,
    OnEngine,
    RememberingLabels,
    Transfer,
)
from bench.learning.joint_features import JointFeatures
from bench.learning.method import Entry
from bench.learning.statistics_methods import CategoryFiles, Statistics

RATES: tuple[dict[str, Any], ...] = ({"lr": 0.01}, {"lr": 0.002}, {"lr": 0.0005})
_REPLAY = tuple({"steps": 100, "lr": r} for r in (0.02, 0.005))
_ALPHAS = tuple({"alpha": a, **r} for a in (1.0, 10.0) for r in RATES)
_WEIGHTS = tuple({"weight": w, "lr": 0.002} for w in (1.0, 1e2, 1e4, 1e5, 1e6, 1e7))
_JOINT = tuple({"steps": 600, "lr": r} for r in (0.02, 0.005))

METHODS: dict[str, Entry] = {
    "before": Entry(OnEngine),
    "before, teacher's rows": Entry(partial(OnEngine, teachers_rows=True), seen_teacher=True),
    "labels": Entry(Labels, RATES),
    "transfer": Entry(Transfer, RATES, seen_teacher=True),
    "transfer, teacher's rows": Entry(
        partial(Transfer, teachers_rows=True), RATES, seen_teacher=True
    ),
    "naive": Entry(torch_way.Naive, RATES),
    "lwf": Entry(torch_way.WithoutForgetting, _ALPHAS),
    "ewc": Entry(torch_way.Consolidation, _WEIGHTS),
    "replay 10": Entry(partial(torch_way.Replay, per_class=10), _REPLAY),
    "replay 50": Entry(partial(torch_way.Replay, per_class=50), _REPLAY),
    "icarl 10": Entry(partial(torch_way.ICaRL, per_class=10), _REPLAY),
    "icarl 50": Entry(partial(torch_way.ICaRL, per_class=50), _REPLAY),
    "streaming lda": Entry(torch_way.StreamingLDA),
    "statistics": Entry(Statistics),
    "statistics, no expansion": Entry(partial(Statistics, expand=None)),
    "statistics, expand 200": Entry(partial(Statistics, expand=200)),
    "labels, memory 10": Entry(partial(RememberingLabels, per_class=10), _REPLAY),
    "labels, memory 50": Entry(partial(RememberingLabels, per_class=50), _REPLAY),
    "category file": Entry(CategoryFiles),
    "joint, features": Entry(JointFeatures),
    "joint, last convolutions": Entry(JointLastConvolutions, _JOINT),
}
