"""The students that the methods start from, made once and kept in a cache folder.

A student is compressed (P = 0.7) and trained by `pyedge.transfer` on images of the base classes
alone. Its teacher has seen all ten classes, or, in a data set called "...-unseen", the base classes
alone: weights that are inherited have seen what the teacher has. The device's file has the base
classes alone; new ones are added as they come.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import pyedge
from bench.learning import teachers
from bench.learning.images import Parts
from bench.learning.protocols import Protocol
from bench.learning.recipes import RECIPES, Recipe
from pyedge.cloud.compression.student import Student
from pyedge.cloud.network_file import NetworkInfo, StudentSettings, load_network, save_network
from pyedge.data import Augment, BatchLoader, ImageSet
from pyedge.student.archive import read_student, write_student
from pyedge.student.file import StudentFile


@dataclass(frozen=True)
class Made:
    """A student of the cache. base: its file with the base classes alone, for devices.

    whole: the file with every class that its teacher knows, by the protocol's order. network: the
    same in torch. teacher: the teacher's state_dict, its classes in the protocol's order.
    """

    recipe: Recipe
    protocol: Protocol
    base: Path
    whole: Path
    network: Path
    teacher: Path

    def torch_student(self) -> Student:
        """Read the student into torch, with the teacher's classes."""
        return load_network(self.network)[0]

    def torch_teacher(self) -> nn.Module:
        """Read the teacher."""
        state = torch.load(self.teacher, weights_only=True)
        model = teachers.build(self.recipe, len(state["classifier.bias"]))
        model.load_state_dict(state)
        return model.eval()


def made(data: str, protocol: Protocol, parts: Parts, cache: Path, teacher_file: Path) -> Made:
    """Return a student out of the cache, where it is made first if it is not there.

    parts: in the protocol's order.
    """
    recipe = RECIPES[data]
    decides = {
        "recipe": asdict(recipe),
        "data": data,
        "experiences": protocol.experiences,
        "seed": protocol.seed,
        "images": [list(each.counts) for each in parts],
        "teacher": teachers.digest(teacher_file) if recipe.teacher_file else None,
    }
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
    name = f"{data}_{protocol.name}_{protocol.seed}_{key}"
    found = Made(
        recipe,
        protocol,
        cache / f"student_{name}_base.pyedge",
        cache / f"student_{name}.pyedge",
        cache / f"student_{name}.pt",
        cache / f"teacher_{name}.pt",
    )
    if not found.base.exists():  # written last
        _make(data, found, parts, teacher_file)
    return found


def base_classes(images: ImageSet, protocol: Protocol) -> ImageSet:
    """Return the images of the base classes, with these classes' names alone."""
    chosen = images.labels < protocol.base
    return ImageSet(images.images[chosen], images.labels[chosen], images.classes[: protocol.base])


def cut_to_base(student: StudentFile, classes: int) -> StudentFile:
    """Leave the first classes, and take the others' rows out of the classifier.

    Raises ValueError for a student with something between its classifier and its logits.
    """
    if len(student.tail()) != 0:
        raise ValueError("cut_to_base: the student has more than a classifier at its end")
    node = next(each for each in student.nodes if each["name"] == student.classifier)
    arrays = dict(student.arrays)
    for field in ("weight", "bias"):
        arrays[node[field]] = arrays[node[field]][:classes].copy()
    return replace(student, arrays=arrays, classes=student.classes[:classes])


def _make(data: str, found: Made, parts: Parts, teacher_file: Path) -> None:
    protocol, recipe, start = found.protocol, found.recipe, time.time()
    found.base.parent.mkdir(parents=True, exist_ok=True)
    images = base_classes(parts.train, protocol)
    teacher = _teacher(data, found, parts, teacher_file)
    known = images.classes if recipe.unseen else parts.train.classes
    seed = protocol.seed
    torch.manual_seed(seed)
    chosen = pyedge.plan(
        teacher,
        recipe.P,
        BatchLoader(images, recipe.batch_size, seed=seed),
        max_images=recipe.profile_images,
        seed=seed,
    )
    student = chosen.build()
    loader = BatchLoader(images, recipe.batch_size, augment=Augment(**recipe.augment), seed=seed)
    pyedge.transfer(
        student,
        teacher,
        loader,
        lambdas=recipe.lambdas,
        seed=seed,
        progress=False,
        **recipe.student_options(protocol.base),
    )
    seconds = round(time.time() - start)
    write(found, teacher, student, StudentSettings.of(chosen), images, known, seconds)


def write(
    found: Made,
    teacher: nn.Module,
    student: Student,
    settings: StudentSettings,
    images: ImageSet,
    known: Sequence[str],
    seconds: int,
) -> None:
    """Write a trained student's files, `base` last.

    images: what it was trained on. known: the names of its classes.
    """
    recipe, shape = found.recipe, tuple(images.images.shape[1:])
    info = NetworkInfo(
        builder=recipe.builder,
        options={"num_classes": len(known), "in_channels": recipe.channels, **recipe.options},
        classes=tuple(known),
        input_shape=shape,
        student=settings,
    )
    torch.save(teacher.state_dict(), found.teacher)
    save_network(found.network, student, info)
    record: dict[str, Any] = {"command": "bench.learning", "seconds": seconds}
    file = pyedge.export(student, found.whole, classes=known, record=[record], input_shape=shape)
    assert file is not None
    write_student(cut_to_base(read_student(found.whole), found.protocol.base), found.base)


def _teacher(data: str, found: Made, parts: Parts, teacher_file: Path) -> nn.Module:
    """Return the teacher with its classes in the protocol's order."""
    protocol, recipe = found.protocol, found.recipe
    if recipe.teacher_file is not None:
        return teachers.in_order(teachers.read_teacher(recipe, teacher_file), protocol.order)
    if recipe.unseen:
        images, val = (base_classes(each, protocol) for each in (parts.train, parts.val))
        return teachers.train_teacher(recipe, images, val, protocol.seed)
    # one teacher for all protocols, and for all seeds where the recipe has one: in the data's order
    seed = protocol.seed if recipe.teacher_seed is None else recipe.teacher_seed
    key = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:12]
    kept = found.teacher.with_name(f"teacher_{data}_{seed}_{key}.pt")
    if not kept.exists():
        original = _original_order(parts, protocol)
        model = teachers.train_teacher(recipe, original.train, original.val, seed)
        unfinished = kept.with_suffix(f".{os.getpid()}")
        torch.save(model.state_dict(), unfinished)
        unfinished.replace(kept)
    model = teachers.build(recipe, len(protocol.order))
    model.load_state_dict(torch.load(kept, weights_only=True))
    return teachers.in_order(model.eval(), protocol.order)


def _original_order(parts: Parts, protocol: Protocol) -> Parts:
    order = torch.tensor(protocol.order)
    names = [""] * len(order)
    for place, each in enumerate(protocol.order):
        names[each] = parts.train.classes[place]
    return Parts(*(ImageSet(s.images, order[s.labels], names) for s in parts))
