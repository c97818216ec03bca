"""Table 1: what compression costs, by data set and threshold.

Students as the paper writes them: the last block of a group, the paper's transfer. Beside the
smallest of each data set stand our ingredients, one after another, of which the best on validation
images is ours.
"""

from __future__ import annotations

from functools import partial

from bench.paper.cutting import Cutting
from bench.paper.rows import Figures, Row, Workshops, accuracies
from bench.paper.systems import (
    AS_WRITTEN,
    ATTENTION,
    DISTILLATION,
    LONGER,
    TRANSFER,
    System,
)
from bench.paper.workshop import Workshop

LONGEST = "first block, facing channels, twice as long"
# each adds to the one before, but for those in the middle, which stand in for the transfer
INGREDIENTS: tuple[tuple[str, dict[str, object], System], ...] = (
    ("first block", {}, AS_WRITTEN),
    ("first block, facing channels", {}, TRANSFER),
    ("first block, temperature", {}, DISTILLATION),
    ("first block, attention transfer", {}, ATTENTION),
    ("first block, facing channels, one order of filters", {"shared": True}, TRANSFER),
    (LONGEST, {}, LONGER),
)


def rows(shops: Workshops) -> list[Row]:
    """Return the rows of every world of the scale."""
    return [row for name in shops.names() for row in _of_world(shops.of(name))]


def _of_world(shop: Workshop) -> list[Row]:
    world = shop.world
    found = [Row(world.name, "teacher", lambda seed: _teacher(shop), once=True)]
    for P in world.thresholds:
        found.append(Row(world.name, world.student_name(P), partial(as_written, shop, P)))
    smallest = world.smallest
    for name, options, system in INGREDIENTS:
        if world.ingredients is not None and name not in world.ingredients:
            continue
        cutting = Cutting(smallest, **options)  # type: ignore[arg-type]
        label = f"{world.student_name(smallest)}: {name}"
        found.append(Row(world.name, label, partial(student, shop, cutting, system), ours=True))
    return found


def _teacher(shop: Workshop) -> Figures:
    return {**accuracies(shop.teacher.figures), "ratio": 1.0}


def as_written(shop: Workshop, P: float, seed: int) -> Figures:
    """A student of the paper's own recipe."""
    return student(shop, Cutting(P, keep="last"), AS_WRITTEN, seed)


def student(shop: Workshop, cutting: Cutting, system: System, seed: int) -> Figures:
    """A student's figures, with how many times smaller it is than its teacher."""
    found = accuracies(shop.taught(cutting, system, seed).figures)
    whole = shop.teacher.figures["parameters"]
    return {**found, "ratio": round(whole / found["parameters"], 1)}
