"""The students that benchmarks know by name: the paper's, and whole networks of phones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.shared.mobilenet import make_mobilenet
from bench.shared.students import WIDTHS, BenchStudent, make_student

STUDENTS: dict[str, Callable[[], BenchStudent]] = {
    **{name: partial(make_student, name) for name in WIDTHS},
    "mobilenet_v2": partial(make_mobilenet, "mobilenet_v2", 96),
    "mobilenet_v2_224": partial(make_mobilenet, "mobilenet_v2_224", 224),
}
