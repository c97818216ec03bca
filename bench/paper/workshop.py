"""Networks of a world, made in stages that leave files: teacher, profile, student, baselines.

A stage's file is named by all that decides it, written whole, and read the next time. While a
network trains, its checkpoint lies beside the file.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.learning import teachers
from bench.learning.recipes import Recipe
from bench.paper.cutting import Cutting, plan_student
from bench.paper.device_loader import DeviceLoader
from bench.paper.images import Parts, digest, load_images
from bench.paper.slices import Slice, SlicedLoader
from bench.paper.systems import INDEPENDENT, System, Task, compiled, on_gpu
from bench.paper.worlds import World
from pyedge.cloud.network_file import NetworkInfo, StudentSettings, load_network, save_network
from pyedge.cloud.training.checkpoint import load_checkpoint, save_checkpoint
from pyedge.cloud.training.evaluate import evaluate
from pyedge.cloud.training.history import TrainResult
from pyedge.data import Augment, BatchLoader, ImageSet
from pyedge.models import count_parameters, create

Say = Callable[[str], None]
_EVALUATED = 256
# what of a world every network depends on, beside its own schedule
_DECIDES = (
    *("builder", "options", "teacher", "teacher_file", "augment", "lambdas", "our_lambdas"),
    *("batch_size", "channels", "profile_images"),
)


@dataclass
class Trained:
    """A network at its best validation evaluation, and its figures.

    accuracy, last: on test images, of the best evaluation and of the last; val: the best one's on
    validation images; accuracies are shares. steps_before: of FitNet's first stage. history: step
    and validation accuracy.
    """

    network: nn.Module
    figures: dict[str, Any]


class Workshop:
    """Make the networks of a world, or read them from `cache`."""

    def __init__(
        self, world: World, cache: Path, data: Path, teacher_folder: Path, slice_: Slice, say: Say
    ) -> None:
        self.world, self.cache, self.slice = world, cache, slice_
        self._data, self._teachers, self._say = data, teacher_folder, say

    @cached_property
    def parts(self) -> Parts:
        """The images."""
        return load_images(self.world.data, self._data, self.cache)

    @cached_property
    def digest(self) -> str:
        """What tells these images from others."""
        return digest(self.parts)

    @property
    def recipe(self) -> Recipe:
        """The teacher's, as `bench.learning` has it."""
        world = self.world
        return Recipe(
            builder=world.builder,
            options=world.options,
            student=world.base,
            teacher=world.teacher,
            teacher_file=world.teacher_file,
            batch_size=world.batch_size,
            augment=dict(world.augment),
            lambdas=world.our_lambdas,
            profile_images=world.profile_images,
            channels=world.channels,
        )

    @cached_property
    def teacher(self) -> Trained:
        """The world's teacher of all classes; every seed has the same."""
        if self.world.teacher_file is not None:
            model = teachers.read_teacher(self.recipe, self._teachers / self.world.teacher_file)
            found = {"val": self.accuracy(model, "val"), **self._counted(model)}
            accuracy = self.accuracy(model, "test")
            return Trained(model, {**found, "accuracy": accuracy, "last": accuracy})
        return self.labelled(self.world.builder, self.world.options, 0)

    def labelled(
        self,
        builder: str,
        options: Mapping[str, Any],
        seed: int,
        parts: Parts | None = None,
        training: Mapping[str, Any] | None = None,
        start: nn.Module | None = None,
        name: str = "",
    ) -> Trained:
        """Train a network on labels, of `parts` if they are not all. start: where it begins."""
        images = parts or self.parts
        training = self.world.teacher if training is None else training
        decides = {"builder": builder, "options": options, "training": training, "name": name,
                   "classes": images.train.classes, "seed": seed}  # fmt: skip

        def make() -> nn.Module:
            if start is not None:
                return copy.deepcopy(start)
            torch.manual_seed(seed)
            classes = len(images.train.classes)
            return create(builder, num_classes=classes, in_channels=self.world.channels, **options)

        return self._trained("network", decides, make, INDEPENDENT, training, images, seed)

    def student(
        self,
        cutting: Cutting,
        seed: int,
        images: ImageSet | None = None,
        teacher: nn.Module | None = None,
    ) -> Path:
        """Return the file of a student that is cut but not trained: the stage "profile".

        images: what is profiled. teacher: the world's, with the classes in the images' order.
        """
        images = self.parts.train if images is None else images
        path = self._file("profile", {"cutting": asdict(cutting), "seed": seed,
                                      "images": list(images.counts), "classes": images.classes,
                                      "reordered": teacher is not None})  # fmt: skip
        if not path.exists():
            self.slice.check()
            self._say(f"{self.world.name}: profile of {cutting}, seed {seed}")
            loader = BatchLoader(images, self.world.batch_size, seed=seed)
            teacher = teacher or self.teacher.network
            plan = plan_student(teacher, loader, cutting, seed, self.world.profile_images)
            classes = len(self.parts.train.classes)
            info = NetworkInfo(
                builder=self.world.builder,
                options={"num_classes": classes, "in_channels": self.world.channels,
                         **self.world.options},
                classes=tuple(str(each) for each in range(classes)),
                input_shape=tuple(images.images.shape[1:]),
                student=StudentSettings.of(plan, keep=cutting.keep),
            )  # fmt: skip
            save_network(path, plan.build(), info)
        return path

    def taught(
        self,
        cutting: Cutting,
        system: System,
        seed: int,
        parts: Parts | None = None,
        training: Mapping[str, Any] | None = None,
        augment: Mapping[str, Any] | None = None,
        teacher: nn.Module | None = None,
    ) -> Trained:
        """Train a student by a system.

        parts, training, augment: the world's if they are not given. teacher: the world's with its
        classes in another order, that of `parts`.
        """
        images = parts or self.parts
        training = system.options(self.world.student if training is None else training)
        file = self.student(cutting, seed, None if parts is None else images.train, teacher)
        chosen = dict(self.world.augment if augment is None else augment)
        decides = {"cutting": asdict(cutting), "system": system.name, "training": training,
                   "seed": seed, "augment": chosen, "images": list(images.train.counts),
                   "classes": images.train.classes}  # fmt: skip

        def make() -> nn.Module:
            return load_network(file)[0]

        teacher = teacher or self.teacher.network
        return self._trained(
            "student", decides, make, system, training, images, seed, chosen, teacher
        )

    def _trained(
        self,
        kind: str,
        decides: Mapping[str, Any],
        make: Callable[[], nn.Module],
        system: System,
        training: Mapping[str, Any],
        images: Parts,
        seed: int,
        augment: Mapping[str, Any] | None = None,
        teacher: nn.Module | None = None,
    ) -> Trained:
        path = self._file(kind, decides)
        network = make()
        if path.exists():
            state = load_checkpoint(path)
            network.load_state_dict(state["weights"])
            return Trained(network.eval(), state["figures"])
        self.slice.check()
        self._say(f"{self.world.name}: {kind}, {system.name}, seed {seed}")
        checkpoint = path.with_suffix(".training")
        task = Task(
            network,
            teacher,
            self._loader(images.train, seed, checkpoint, augment or self.world.augment),
            BatchLoader(images.val, _EVALUATED, shuffle=False),
            self._options(training, seed, checkpoint),
            self.world.lambdas,
            self.world.our_lambdas,
            self.world.compiled,
        )
        with compiled(network, self.world.compiled):
            result = system.teach(task)
        figures = self._figures(network, result, checkpoint, images.test)
        system.finish(network)
        figures.update(self._counted(network))
        save_checkpoint(path, {"weights": network.state_dict(), "figures": figures})
        for each in (checkpoint, Path(f"{checkpoint}.hint")):
            each.unlink(missing_ok=True)
        return Trained(network.eval(), figures)

    def _options(self, training: Mapping[str, Any], seed: int, checkpoint: Path) -> dict[str, Any]:
        own = {"seed": seed, "progress": False, "checkpoint": checkpoint, "resume": True}
        options = {**training, **own}
        if not on_gpu():  # bfloat16 on a CPU is an emulation on most
            options.pop("precision", None)
        return options

    def _loader(
        self, images: ImageSet, seed: int, checkpoint: Path, augment: Mapping[str, Any]
    ) -> BatchLoader:
        settings: dict[str, Any] = {
            "augment": Augment(**augment),
            "seed": seed,
            "slice_": self.slice,
            "checkpoint": checkpoint,
        }
        if self.world.compiled and on_gpu():
            device = torch.device("cuda")
            return DeviceLoader(images, self.world.batch_size, device=device, **settings)
        return SlicedLoader(images, self.world.batch_size, **settings)

    def _figures(
        self, network: nn.Module, result: TrainResult, checkpoint: Path, test: ImageSet
    ) -> dict[str, Any]:
        loader = BatchLoader(test, _EVALUATED, shuffle=False)
        best = evaluate(network, loader).accuracy
        kept = copy.deepcopy(network.state_dict())
        network.load_state_dict(load_checkpoint(checkpoint)["model"])
        last = evaluate(network, loader).accuracy
        network.load_state_dict(kept)
        rows = [(row["step"], row["val_accuracy"]) for row in result.history]
        return {
            "accuracy": best,
            "last": last,
            "val": result.best_score,
            "steps": result.steps,
            "steps_before": sum(stage.steps for stage in result.stages),
            "seconds": round(result.seconds, 1),
            "history": [{"step": step, "val_accuracy": accuracy} for step, accuracy in rows],
        }

    def accuracy(self, network: nn.Module, part: str) -> float:
        """The share of right answers to the images of a part."""
        images: ImageSet = getattr(self.parts, part)
        return evaluate(network, BatchLoader(images, _EVALUATED, shuffle=False)).accuracy

    def _counted(self, network: nn.Module) -> dict[str, Any]:
        parameters = count_parameters(network)
        return {"parameters": parameters, "bytes": 4 * parameters}

    def _file(self, kind: str, decides: Mapping[str, Any]) -> Path:
        world = {name: getattr(self.world, name) for name in _DECIDES}
        whole = {**decides, "world": world, "data": self.digest}
        key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
        self.cache.mkdir(parents=True, exist_ok=True)
        return self.cache / f"{kind}_{self.world.name}_{key}.pt"
