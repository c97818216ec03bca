"""The students that benchmarks know by name: the paper's, and whole networks of phones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.shared.grouped_networks import make_regnet_x_400mf, make_resnext50
from bench.shared.mobilenet import make_mobilenet
from bench.shared.students import WIDTHS, BenchStudent, make_student

STUDENTS: dict[str, Callable[[], BenchStudent]] = {
    **{name: partial(make_student, name) for name in WIDTHS},
    "mobilenet_v2": partial(make_mobilenet, "mobilenet_v2", 96),
    "mobilenet_v2_224": partial(make_mobilenet, "mobilenet_v2_224", 224),
    "resnext50": partial(make_resnext50, "resnext50", 96),
    "resnext50_full": partial(make_resnext50, "resnext50_full", 96, spread=True),
    "regnet_x_400mf": partial(make_regnet_x_400mf, "regnet_x_400mf", 96),
    "regnet_x_400mf_full": partial(make_regnet_x_400mf, "regnet_x_400mf_full", 96, spread=True),
}
