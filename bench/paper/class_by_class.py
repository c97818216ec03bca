"""Students that learn classes later (Tables 4, 5 and 7), by the methods of `bench.learning`.

The student is cut and trained in this scale's stages, on images of the base classes alone, by a
teacher that has seen every class; then a method of `bench.learning` takes it through the protocol.
Choices (a rate, a weight) are made once, on validation images of the first seed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from bench.learning import protocols, students, teachers
from bench.learning.images import Parts
from bench.learning.method import Entry, Start
from bench.learning.protocols import Protocol
from bench.learning.run import Run, choose, tested
from bench.paper.cutting import Cutting
from bench.paper.rows import Figures
from bench.paper.systems import System
from bench.paper.workshop import Trained, Workshop
from pyedge.cloud.network_file import load_network

_ASKED = ("old", "old_before", "new", "mean", "weighted", "seconds", "bytes", "sent_bytes")


def protocol_of(name: str, classes: int, seed: int) -> Protocol:
    """Make "9+1" as `bench.learning` does, or "2+8": two classes, then all others at once."""
    if name != "2+8":
        return protocols.make(name, classes, seed)
    order = protocols.make("5x2", classes, seed).order if classes % 2 == 0 else range(classes)
    return Protocol(name, seed, (tuple(order[:2]), tuple(order[2:])))


class Course:
    """A protocol at a workshop with a seed. parts: the images in the protocol's order."""

    def __init__(self, shop: Workshop, name: str, seed: int) -> None:
        self.shop, self.seed = shop, seed
        self.protocol = protocol_of(name, len(shop.parts.train.classes), seed)
        self.parts = self.protocol.reordered(shop.parts)

    @property
    def base(self) -> Parts:
        """The images of the base classes, with every class's name."""
        return Parts(*(each.only_classes(range(self.protocol.base)) for each in self.parts))

    def teacher(self) -> nn.Module:
        """Return a copy of the world's teacher, its classes in the protocol's order."""
        original = self.shop.teacher.network
        # built anew: the original may remember its classes in the data's order
        model = teachers.build(self.shop.recipe, len(self.protocol.order))
        model.load_state_dict(copy.deepcopy(original.state_dict()))
        return teachers.in_order(model.eval(), self.protocol.order)

    def taught(
        self, cutting: Cutting, system: System, training: Mapping[str, Any] | None = None
    ) -> Trained:
        """Train a student on the base classes."""
        training = self.shop.world.base if training is None else training
        return self.shop.taught(
            cutting, system, self.seed, self.base, training, teacher=self.teacher()
        )

    def whole(self) -> nn.Module:
        """Train the world's network for RILOD on the base classes alone, which is all it knows."""
        world, protocol = self.shop.world, self.protocol
        base = Parts(*(students.base_classes(each, protocol) for each in self.parts))
        builder, options = world.whole
        return self.shop.labelled(builder, options, self.seed, base, world.base).network

    def run(
        self, cutting: Cutting, system: System, training: Mapping[str, Any] | None = None
    ) -> Run:
        """Return what the methods of `bench.learning` are run with."""
        made = self._made(cutting, system, training)
        device = self.parts.device(self.shop.world.device_images, self.seed)
        base = device.only_classes(range(self.protocol.base))
        return Run(Start(made, base, self.parts.val), device, self.parts.test)

    def _made(
        self, cutting: Cutting, system: System, training: Mapping[str, Any] | None
    ) -> students.Made:
        trained = self.taught(cutting, system, training)
        recipe = replace(self.shop.recipe, P=cutting.P)
        key = _key({"cutting": asdict(cutting), "system": system.name, "seed": self.seed,
                    "training": dict(training or self.shop.world.base),
                    "recipe": asdict(recipe), "protocol": self.protocol.experiences,
                    "data": self.shop.digest})  # fmt: skip
        stem = self.shop.cache / f"made_{self.shop.world.name}_{key}"
        ends = ("_base.pyedge", ".pyedge", ".pt", "_teacher.pt")
        found = students.Made(recipe, self.protocol, *(Path(f"{stem}{end}") for end in ends))
        if not found.base.exists():
            profile = self.shop.student(cutting, self.seed, self.base.train, self.teacher())
            settings = load_network(profile)[1].student
            assert settings is not None
            seconds = round(trained.figures["seconds"])
            names = self.parts.train.classes
            network: Any = trained.network
            students.write(
                found, self.teacher(), network, settings, self.base.train, names, seconds
            )
        return found


def learned(
    shop: Workshop,
    name: str,
    entry: Entry,
    cutting: Cutting,
    system: System,
    label: str,
    seed: int,
    training: Mapping[str, Any] | None = None,
) -> Figures:
    """Take a method through a protocol.

    system, training: of the student on the base classes. label: the row, by which its choice is
    remembered.
    """

    def started(seed: int) -> Run:
        return Course(shop, name, seed).run(cutting, system, training)

    setting = _chosen(shop, name, entry, label, started)
    shop.slice.check()
    run = started(seed)
    found = tested(entry.make(**setting), run)
    return {**{n: round(found[n], 3) for n in _ASKED}, "setting": dict(setting)}


def _chosen(
    shop: Workshop, name: str, entry: Entry, label: str, started: Callable[[int], Run]
) -> Mapping[str, Any]:
    settings = entry.settings[: shop.world.tries]
    if len(settings) == 1:
        return settings[0]
    key = _key({"protocol": name, "label": label, "settings": settings, "data": shop.digest,
                "world": asdict(shop.world)})  # fmt: skip
    path = shop.cache / f"choice_{shop.world.name}_{key}.json"
    if not path.exists():
        found = choose(replace(entry, settings=settings), started(0))
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(found))
        unfinished.replace(path)
    return dict(json.loads(path.read_text()))


def _key(decides: Mapping[str, Any]) -> str:
    text = json.dumps(decides, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
