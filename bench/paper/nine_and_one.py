"""Tables 4 and 5: nine classes, and a new one with its images alone.

Both ways of averaging are recorded: "mean" of old and new, the paper's in the rows of transfer and
RILOD, and "weighted" by images, which it has in the row without transfer.

Rows of the paper learn with its own student; so that it can be told what comes of the student and
what of the way of learning, its ways of learning stand beside ours with our student too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from bench.learning.method import Entry, Start
from bench.learning.registry import METHODS
from bench.learning.torch_methods import Naive
from bench.paper.baselines.rilod import Rilod, RilodWhole
from bench.paper.class_by_class import Course, learned
from bench.paper.cutting import Cutting
from bench.paper.rows import Row
from bench.paper.systems import AS_WRITTEN, LONGER, TRANSFER, System
from bench.paper.table1 import LONGEST
from bench.paper.transfer_method import TransferAsWritten
from bench.paper.workshop import Workshop

OURS = ("statistics", "labels, memory 50", "category file")
_RATES = (0.01, 0.002)
_LOW_RATES = (0.002, 0.0005, 0.0001)  # of what may not stop by itself before it forgets


@dataclass(frozen=True)
class _Student:
    """Who learns. name: in a row's, around the paper's name for a student of this threshold."""

    P: float
    name: str
    cutting: Cutting
    system: System
    ours: bool


def _as_written(P: float) -> _Student:
    return _Student(P, "{}", Cutting(P, keep="last"), AS_WRITTEN, ours=False)


def _ours(P: float) -> _Student:
    return _Student(P, "{}, our student", Cutting(P), TRANSFER, ours=True)


def rows(shop: Workshop) -> list[Row]:
    """Return the rows of a world."""
    world = shop.world
    steps = world.learn_steps
    naive = Entry(Naive, ({"steps": steps, "lr": _RATES[0]},))
    # chooses among evaluations by validation images of all classes, of which a device has none
    transfer = Entry(TransferAsWritten, tuple({"steps": steps, "lr": r} for r in _RATES))
    last = Entry(
        TransferAsWritten, tuple({"steps": steps, "lr": r, "keep_best": False} for r in _LOW_RATES)
    )
    weighed = tuple({"steps": steps, "lr": r, "weight": w} for r in _LOW_RATES for w in (1.0, 10.0))
    whole = Entry(partial(RilodWhole, lambda start: _whole(shop, start)), weighed)

    first = _as_written(world.largest)
    found = [_row(shop, first, "without transfer", naive)]
    found += [_row(shop, _as_written(P), "transfer", transfer) for P in world.learned]
    found += [_row(shop, _as_written(P), "transfer, at the last step", last) for P in world.ends]
    found.append(_row(shop, first, "RILOD", Entry(Rilod, weighed)))
    found.append(_row(shop, replace(first, name="whole network"), "RILOD", whole))
    for P in world.ends:
        ours = _ours(P)
        found.append(_row(shop, ours, "transfer", transfer))
        found.append(_row(shop, ours, "transfer, at the last step", last))
        if world.largest == P:
            found.append(_row(shop, ours, "RILOD", Entry(Rilod, weighed)))
            found.append(_row(shop, ours, "LwF", METHODS["lwf"]))
        found += [_row(shop, ours, name, METHODS[name]) for name in OURS]
        if world.ingredients is None or LONGEST in world.ingredients:
            longer = replace(ours, name=f"{ours.name}, twice as long", system=LONGER)
            found.append(_row(shop, longer, "transfer, at the last step", last))
            found.append(_row(shop, longer, "statistics", METHODS["statistics"]))
    return found


def _row(shop: Workshop, student: _Student, name: str, entry: Entry) -> Row:
    label = f"{student.name.format(shop.world.student_name(student.P))}: {name}"
    run = partial(learned, shop, "9+1", entry, student.cutting, student.system, label)
    return Row(shop.world.name, label, run, ours=student.ours)


def _whole(shop: Workshop, start: Start) -> nn.Module:
    return Course(shop, "9+1", start.seed).whole()
