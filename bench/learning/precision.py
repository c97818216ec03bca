"""The engine's ways of learning in each precision, for `python -m bench.precision --learning`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any, NamedTuple

from bench.learning import report, run, teachers
from bench.learning.engine_methods import Labels, OnEngine, Transfer
from bench.learning.method import Entry
from bench.learning.statistics_methods import Statistics

_RATE: tuple[dict[str, Any], ...] = ({"lr": 0.002},)
# statistics: the sums of the base images are the cloud's, and in float32 but for weights in 8 bits
_IN_FLOAT32 = {
    "before": Entry(OnEngine),
    "labels": Entry(Labels, _RATE),
    "transfer": Entry(Transfer, _RATE, seen_teacher=True),
    "statistics": Entry(Statistics),
}
_KINDS = {"": "float32", ", half": "half", ", int8": "int8"}


def _in(precision: str, entry: Entry) -> Entry:
    """Return a method whose learner has this precision."""
    method = entry.make
    assert isinstance(method, type)
    made = type(method.__name__, (method,), {"precision": precision})
    return dataclasses.replace(entry, make=made)


METHODS = {
    f"{name}{kind}": _in(precision, entry)
    for name, entry in _IN_FLOAT32.items()
    for kind, precision in _KINDS.items()
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
    chosen = {f"{name}{kind}": METHODS[f"{name}{kind}"] for name in wanted for kind in _KINDS}
    rows = list(run.table(asked, chosen, lambda line: print(line, file=sys.stderr, flush=True)))
    return Table(rows, report.text(rows))
