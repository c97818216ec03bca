"""Tables 4 and 5: nine classes, and a new one with its images alone.

Both ways of averaging are recorded: "mean" of old and new, the paper's in the rows of transfer and
RILOD, and "weighted" by images, which it has in the row without transfer.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from bench.learning.method import Entry, Start
from bench.learning.registry import METHODS
from bench.learning.torch_methods import Naive
from bench.paper.baselines.rilod import Rilod, RilodWhole
from bench.paper.class_by_class import Course, learned
from bench.paper.cutting import Cutting
from bench.paper.rows import Row
from bench.paper.systems import TRANSFER
from bench.paper.transfer_method import TransferAsWritten
from bench.paper.workshop import Workshop

OURS = ("statistics", "labels, memory 50", "category file")
_RATES = (0.01, 0.002)
_LOW_RATES = (0.002, 0.0005, 0.0001)  # of what may not stop by itself before it forgets


def rows(shop: Workshop) -> list[Row]:
    """Return the rows of a world."""
    world = shop.world
    first, smallest = world.thresholds[0], world.thresholds[-1]
    steps = world.learn_steps
    naive = Entry(Naive, ({"steps": steps, "lr": _RATES[0]},))
    transfer = Entry(TransferAsWritten, tuple({"steps": steps, "lr": r} for r in _RATES))
    to_the_end = Entry(
        TransferAsWritten, tuple({"steps": steps, "lr": r, "keep_best": False} for r in _LOW_RATES)
    )
    weighed = tuple({"steps": steps, "lr": r, "weight": w} for r in _LOW_RATES for w in (1.0, 10.0))
    whole = partial(RilodWhole, lambda start: _whole(shop, start))
    found = [_row(shop, first, "without transfer", naive)]
    found += [_row(shop, P, "transfer", transfer) for P in world.thresholds]
    # the rows above choose among evaluations by validation images, of which a device has none
    for P in dict.fromkeys((first, smallest)):
        found.append(_row(shop, P, "transfer, at the last step", to_the_end))
    found.append(_row(shop, first, "RILOD", Entry(Rilod, weighed)))
    found.append(_row(shop, first, "RILOD", Entry(whole, weighed), student="whole network"))
    found.append(_row(shop, first, "LwF", METHODS["lwf"]))
    for P in dict.fromkeys((first, smallest)):
        found += [_row(shop, P, name, METHODS[name], ours=True) for name in OURS]
    return found


def _row(
    shop: Workshop, P: float, name: str, entry: Entry, *, student: str = "", ours: bool = False
) -> Row:
    label = f"{student or shop.world.student_name(P)}: {name}"
    run = partial(learned, shop, "9+1", entry, Cutting(P), TRANSFER, label)
    return Row(shop.world.name, label, run, ours=ours)


def _whole(shop: Workshop, start: Start) -> nn.Module:
    return Course(shop, "9+1", start.seed).whole()
