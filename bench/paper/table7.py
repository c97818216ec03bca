"""Table 7: classes that a student never saw, learned from two others (Sec. 4.2).

Answers are among all ten classes. Of two classes the student sees images, of the other eight none:
what it knows of them comes from the teacher's logits, or from weights that it inherits, which have
seen every class; the rows of fresh weights have not. No validation image of an unseen class
chooses: the last evaluation counts. Category files tell a student of a class without an image on
the device; statistics and memories see images, and are the measure of what that is worth.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from bench.learning.features import ids
from bench.learning.method import Entry
from bench.learning.protocols import Record
from bench.learning.registry import METHODS
from bench.paper.class_by_class import Course, learned
from bench.paper.cutting import Cutting
from bench.paper.rows import Figures, Row, Workshops
from bench.paper.systems import (
    FITNET,
    INDEPENDENT,
    UNLABELLED,
    UNLABELLED_FACING,
    System,
)
from bench.paper.workshop import Workshop
from pyedge.cloud.network_file import load_network
from pyedge.data import standardise

# a student of 3 blocks out of 27, the first teacher's, has lost most of what it inherits; out of 6,
# the second one's, it may not have
WORLDS = ("cifar", "wrn")
OURS = ("category file", "statistics", "labels, memory 50")
_BATCH = 256


def rows(shops: Workshops) -> list[Row]:
    """Return the rows of CIFAR-10, with each teacher that the scale has for it."""
    worlds = [name for name in WORLDS if name in shops.names()]
    return [row for name in worlds for row in _of_world(shops.of(name))]


def _of_world(shop: Workshop) -> list[Row]:
    world = shop.world
    found = []
    for P in world.learned:
        fresh = Cutting(P, init="fresh")
        for name, cutting, system, ours in (
            ("independent", fresh, INDEPENDENT, False),
            ("transfer", Cutting(P, keep="last"), UNLABELLED, False),
            ("FitNet", fresh, FITNET, False),
            ("transfer, fresh weights", fresh, UNLABELLED_FACING, True),
            ("transfer, first block, facing channels", Cutting(P), UNLABELLED_FACING, True),
        ):
            label = f"{world.student_name(P)}: {name}"
            run = partial(_unseen, shop, cutting, system)
            found.append(Row(world.name, label, run, ours=ours))
    P = world.largest
    label = f"{world.student_name(P)}: first block, before any training"
    found.append(Row(world.name, label, partial(_cut, shop, Cutting(P)), ours=True))
    for name in OURS:
        label = f"{world.student_name(P)}: {name}"
        run = partial(_learned, shop, METHODS[name], Cutting(P), label)
        found.append(Row(world.name, label, run, ours=True))
    return found


def _cut(shop: Workshop, cutting: Cutting, seed: int) -> Figures:
    """What is left of the inherited weights: a student as it is cut."""
    course = Course(shop, "2+8", seed)
    file = shop.student(cutting, seed, course.base.train, course.teacher())
    return _beside_teacher(course, load_network(file)[0])


def _unseen(shop: Workshop, cutting: Cutting, system: System, seed: int) -> Figures:
    course = Course(shop, "2+8", seed)
    training = {**shop.world.unseen, "keep_best": False}
    student = course.taught(cutting, system, training).network
    return _beside_teacher(course, student)


def _beside_teacher(course: Course, student: torch.nn.Module) -> Figures:
    return {**_asked(course, student), "teacher": _asked(course, course.teacher())["unseen"]}


def _asked(course: Course, network: torch.nn.Module) -> Figures:
    """Accuracy over the unseen classes and the seen ones, every answer among all."""
    test = course.parts.test
    network.eval()
    with torch.no_grad():
        parts = [network(standardise(x)).argmax(1) for x in test.images.split(_BATCH)]
    answers = torch.cat(parts).numpy()
    record = Record(course.protocol, ids(test))
    record.add(answers[record.asked(0)])
    record.add(answers)
    found: dict[str, Any] = record.figures()
    return {"unseen": round(found["new"], 2), "seen": round(found["old"], 2),
            "weighted": round(found["weighted"], 2)}  # fmt: skip


def _learned(shop: Workshop, entry: Entry, cutting: Cutting, label: str, seed: int) -> Figures:
    training = {**shop.world.unseen, "keep_best": False}
    found = learned(shop, "2+8", entry, cutting, UNLABELLED_FACING, label, seed, training)
    teacher = Course(shop, "2+8", seed)
    return {
        "unseen": found["new"],
        "seen": found["old"],
        "weighted": found["weighted"],
        "teacher": _asked(teacher, teacher.teacher())["unseen"],
        "setting": found["setting"],
    }
