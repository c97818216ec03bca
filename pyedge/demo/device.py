"""The device's part of the main job, one seed at a time: a new category, and unseen ones.

The students learn on the edge engine, in a process that cannot import torch, from what the teacher
has recorded. The same is done in torch for comparison. Each function is one job that runs in its
own process; all figures are of test images that no training and no choice has seen.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

from torch import nn

from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.export import export
from pyedge.cloud.make_knowledge import make_knowledge
from pyedge.cloud.training.fitnet import fitnet
from pyedge.cloud.training.train import train
from pyedge.cloud.training.transfer import transfer
from pyedge.data import Augment, ImageSet, class_incremental, unseen_split
from pyedge.demo.edge_process import EdgeLesson, EdgeTask, on_device, save_images
from pyedge.demo.job import (
    Job,
    batches,
    begin,
    device_plan,
    load_sets,
    load_teacher,
    options_of,
    tested,
)
from pyedge.edge.add_statistics import add_statistics
from pyedge.edge.learner import EdgeLearner
from pyedge.edge.replay_memory import Memory
from pyedge.student.archive import write_student


def new_classes(classes: int, seed: int) -> list[int]:
    """Return the category that arrives later: another for each seed, beginning with the last."""
    return [(classes - 1 - seed) % classes]


def seen_classes(classes: int, seed: int) -> list[int]:
    """Return the two categories that the device has images of: another pair for each seed."""
    first = 2 * seed % classes
    return sorted({first, (first + 1) % classes})


def incremental_job(job: Job) -> dict[str, Any]:
    """Learn nine categories, then only images of the tenth (Table 4), in each way to learn.

    Ways that take steps take the same number at the same rate, in the same layers, and all are
    measured after the last step. Transfer leaves out the labels (J_3): the teacher knows the new
    category, and labels that are all the same would drive out the old ones. Replay also has some
    old images, and joint training, which no device can do, all of them.
    """
    start = begin(job)
    train_set, val_set, test_set = load_sets(job.folder)
    teacher = load_teacher(job, train_set)
    new = new_classes(len(train_set.classes), job.seed)
    old_images, new_images = class_incremental(train_set, new)
    held, _ = class_incremental(val_set, new)
    base = device_plan(job, teacher, train_set).build()
    transfer(
        base,
        teacher,
        batches(job, old_images, job.preset.augment),
        lambdas=job.preset.lambdas,
        **options_of(job, job.preset.base),
    )
    device = _Device(job, job.scratch("incremental"), new_images, test_set)
    student = device.student(base, "base")
    described = device.described(student, old_images, held)
    pack = device.knowledge(teacher, student, job.preset.augment)
    memory = device.memory(student, old_images)
    options = {**job.preset.incremental, **_edge_options(job), "progress": False}
    shifted = {**options, **_shifts(job.preset.augment)}
    joint = {**shifted, **job.preset.joint}
    transferred = device.lesson(options, knowledge=pack)
    solved = device.lesson({"method": "statistics"}, labels=True)
    tasks = {
        "before": device.task(student),
        "transfer": device.task(student, transferred),
        "finetune": device.task(student, device.lesson(shifted, labels=True)),
        "replay": device.task(student, device.lesson(shifted, labels=True, memory=memory)),
        "statistics": device.task(described, solved),
        "statistics_transfer": device.task(described, solved, transferred),
        "joint": device.task(student, device.lesson(joint, labels=True, images=train_set)),
    }
    answers = dict(zip(tasks, device.do(list(tasks.values())), strict=True))
    return {
        **{way: found.old_and_new(new) for way, (found, _) in answers.items()},
        "torch": _incremental_in_torch(job, base, teacher, new_images, test_set, new),
        "engine": [answers[way][1] for way in ("transfer", "finetune")],
        "seconds_on_engine": {way: more.get("seconds", 0.0) for way, (_, more) in answers.items()},
        "new": new,
        "seconds": time.time() - start,
    }


def _incremental_in_torch(
    job: Job,
    base: Student,
    teacher: nn.Module,
    new_images: ImageSet,
    test_set: ImageSet,
    new: list[int],
) -> dict[str, Any]:
    loader = batches(job, new_images, job.preset.augment)
    options = options_of(job, job.preset.incremental)
    student = copy.deepcopy(base)
    transfer(student, teacher, loader, labelled=False, **options)
    found = {"transfer": tested(student, test_set).old_and_new(new)}
    student = copy.deepcopy(base)
    train(student, loader, **options)
    return {**found, "finetune": tested(student, test_set).old_and_new(new)}


def unseen_job(job: Job) -> dict[str, Any]:
    """Learn from images of two categories; test the other eight (Table 7), with ten answers.

    transfer has no labels. independent has labels and no teacher. fitnet has both, in torch.
    "inherited" is the student as it was cut, and "fresh" is transfer to a student whose weights
    have seen no image at all: inherited weights have, in the teacher, seen every category.
    """
    start = begin(job)
    train_set, _, test_set = load_sets(job.folder)
    teacher = load_teacher(job, train_set)
    seen = seen_classes(len(train_set.classes), job.seed)
    seen_images, _ = unseen_split(train_set, seen)
    _, unseen_images = unseen_split(test_set, seen)
    preset = job.preset
    inherited = device_plan(job, teacher, train_set).build()
    fresh = device_plan(job, teacher, train_set, init="fresh").build()
    device = _Device(job, job.scratch("unseen"), seen_images, unseen_images)
    student, blank = device.student(inherited, "inherited"), device.student(fresh, "fresh")
    asked: dict[str, Any] = {"teacher_batch_norm": preset.unseen_teacher_batch_norm}
    # inherited and fresh weights are of one structure, and so is what the teacher tells them
    pack = device.knowledge(teacher, student, preset.unseen_augment, **asked)
    options = {
        "steps": preset.unseen["steps"],
        "lr": preset.unseen["lr"],
        "trainable": "all",
        "batch_norm": "batch",
        "progress": False,
        **_edge_options(job),
    }
    taught = {**options, "lambdas": preset.lambdas}
    alone = {**options, **_shifts(preset.unseen_augment)}
    answers = device.do(
        [
            device.task(student),
            device.task(student, device.lesson(taught, knowledge=pack)),
            device.task(blank, device.lesson(taught, knowledge=pack)),
            device.task(student, device.lesson(alone, labels=True)),
        ]
    )
    ways = ("inherited", "transfer", "fresh", "independent")
    found = {way: each.accuracy for way, (each, _) in zip(ways, answers, strict=True)}
    loader = batches(job, seen_images, preset.unseen_augment)
    torch_options = options_of(job, preset.unseen)
    in_torch = {}
    for way, model in (("transfer", copy.deepcopy(inherited)), ("fresh", fresh)):
        transfer(
            model, teacher, loader, labelled=False, lambdas=preset.lambdas, **torch_options, **asked
        )
        in_torch[way] = tested(model, unseen_images).accuracy
    fitnet(inherited, teacher, loader, **torch_options, **asked)
    return {
        **found,
        "fitnet": tested(inherited, unseen_images).accuracy,
        "torch": in_torch,
        "engine": [more for _, more in answers[1:]],
        "seen": seen,
        "seconds": time.time() - start,
    }


class _Device:
    """The files that go to the device for one job, and the tasks that it does with them."""

    def __init__(self, job: Job, folder: Path, images: ImageSet, test: ImageSet) -> None:
        self._job = job
        self._folder = folder
        self._pixels = images.images.numpy()
        self._images = save_images(images, folder / "images.npz")
        self._test = save_images(test, folder / "test.npz")
        self._classes = images.classes

    def student(self, model: Student, name: str) -> Path:
        """Export a student."""
        path = self._folder / f"{name}.pyedge"
        export(model, path, classes=self._classes)
        return path

    def knowledge(
        self, teacher: nn.Module, student: Path, augment: dict[str, Any], **more: Any
    ) -> Path:
        """Record what the teacher knows of the images, in several views of each."""
        preset = self._job.preset
        make_knowledge(
            student,
            teacher,
            self._pixels,
            self._folder / "pack",
            dtype=preset.knowledge_dtype,
            views=preset.knowledge_views,
            augment=Augment(**augment),
            plain_view=False,
            seed=self._job.seed,
            batch_size=preset.batch_size,
            progress=False,
            **more,
        )
        return self._folder / "pack"

    def described(self, student: Path, images: ImageSet, held: ImageSet) -> Path:
        """Write a student that knows the statistics of these images."""
        path = student.with_name("described.pyedge")
        found = add_statistics(
            student,
            images.images.numpy(),
            images.labels.numpy(),
            held=(held.images.numpy(), held.labels.numpy()),
            expand="auto",
            seed=self._job.seed,
        )
        write_student(found, path)
        return path

    def memory(self, student: Path, images: ImageSet) -> Path:
        """Keep some images of each class."""
        memory = Memory(per_class=self._job.preset.replayed, seed=self._job.seed)
        memory.add(EdgeLearner(student), images.images.numpy(), images.labels.numpy())
        path = self._folder / "memory.npz"
        memory.save(path)
        return path

    def lesson(
        self,
        options: dict[str, Any],
        *,
        labels: bool = False,
        knowledge: Path | None = None,
        memory: Path | None = None,
        images: ImageSet | None = None,
    ) -> EdgeLesson:
        """Make a lesson of the device's images, or of others."""
        path = self._images if images is None else save_images(images, self._folder / "all.npz")
        return EdgeLesson(
            images=path,
            options=options,
            labels=labels,
            knowledge=None if knowledge is None else str(knowledge),
            memory=None if memory is None else str(memory),
        )

    def task(self, student: Path, *lessons: EdgeLesson) -> EdgeTask:
        """Make a task of lessons, one after another."""
        return EdgeTask(str(student), self._test, lessons, self._job.threads)

    def do(self, tasks: list[EdgeTask]) -> list[tuple[Any, dict[str, Any]]]:
        """Do the tasks on the device."""
        return on_device(self._folder, tasks)


def _edge_options(job: Job) -> dict[str, Any]:
    return {"seed": job.seed, "batch_size": job.preset.batch_size}


def _shifts(augment: dict[str, Any]) -> dict[str, Any]:
    """Return how the engine itself augments images that are learned from labels alone."""
    return {"crop_padding": augment["crop_padding"], "flip": augment["flip"]}
