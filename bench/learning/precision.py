"""The engine's ways of learning in each precision, for `python -m bench.precision --learning`."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NamedTuple

from bench.learning import report, run, teachers
from bench.learning.engine_methods import Labels, OnEngine, Transfer
from bench.learning.method import Entry
from bench.learning.statistics_methods import Statistics


class HalfOnEngine(OnEngine):
    """Learns nothing, in half precision."""

    precision = "half"


class HalfLabels(Labels):
    """Labels, in half precision."""

    precision = "half"


class HalfTransfer(Transfer):
    """Transfer, in half precision."""

    precision = "half"


class HalfStatistics(Statistics):
    """Statistics, in half precision but for the sums of the base images, which the cloud makes."""

    precision = "half"


class Int8OnEngine(OnEngine):
    """Learns nothing, in 8 bits; `add_int8` has seen the validation images of the base classes."""

    precision = "int8"


class Int8Labels(Labels):
    """Labels, whose answers are in 8 bits."""

    precision = "int8"


class Int8Transfer(Transfer):
    """Transfer, whose answers are in 8 bits."""

    precision = "int8"


class Int8Statistics(Statistics):
    """Statistics of the student with weights in 8 bits, whose answers are in 8 bits as well."""

    precision = "int8"


_RATE: tuple[dict[str, Any], ...] = ({"lr": 0.002},)
METHODS = {
    "before": Entry(OnEngine),
    "before, half": Entry(HalfOnEngine),
    "before, int8": Entry(Int8OnEngine),
    "labels": Entry(Labels, _RATE),
    "labels, half": Entry(HalfLabels, _RATE),
    "labels, int8": Entry(Int8Labels, _RATE),
    "transfer": Entry(Transfer, _RATE, seen_teacher=True),
    "transfer, half": Entry(HalfTransfer, _RATE, seen_teacher=True),
    "transfer, int8": Entry(Int8Transfer, _RATE, seen_teacher=True),
    "statistics": Entry(Statistics),
    "statistics, half": Entry(HalfStatistics),
    "statistics, int8": Entry(Int8Statistics),
}


class Table(NamedTuple):
    """Rows of bench.learning, and the same for people."""

    rows: list[dict[str, Any]]
    text: str


def table(options: argparse.Namespace) -> Table:
    """Take the cache's students through the protocol, each method in each precision."""
    asked = run.Asked(
        data=options.learning,
        protocol=options.protocol,
        seeds=options.seeds,
        cache=options.cache,
        archive=options.images,
        teacher=options.teacher or teachers.DEFAULT_FOLDER / "resnet56_cifar10.pt",
        per_class=1000,
    )
    wanted = [each.strip() for each in options.methods.split(";")]
    for name in wanted:
        if name not in METHODS:
            sys.exit(
                f"bench.precision: --methods: wanted some of {'; '.join(METHODS)}, got {name!r}"
            )
    kinds = ("", ", half", ", int8")
    chosen = {f"{name}{kind}": METHODS[f"{name}{kind}"] for name in wanted for kind in kinds}
    rows = list(run.table(asked, chosen, lambda line: print(line, file=sys.stderr, flush=True)))
    return Table(rows, report.text(rows))
