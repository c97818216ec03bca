"""The main job, one seed at a time: teacher, students, a new category, unseen categories.

Each function is one job that runs in a process of its own. All figures are of test images that
no training and no choice has seen.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyedge.cloud.compression.compress import plan
from pyedge.cloud.compression.plan import Plan
from pyedge.cloud.compression.report import save_pictures
from pyedge.cloud.compression.student import Student
from pyedge.cloud.training.evaluate import evaluate
from pyedge.cloud.training.fitnet import fitnet
from pyedge.cloud.training.train import train
from pyedge.cloud.training.transfer import transfer
from pyedge.data import Augment, BatchLoader, ImageSet, class_incremental, unseen_split
from pyedge.demo.presets import Preset
from pyedge.models import create

Sets = tuple[ImageSet, ImageSet, ImageSet]


@dataclass(frozen=True)
class Job:
    """What a job needs. folder holds the images and the teachers, pictures go to `pictures`."""

    preset: Preset
    folder: Path
    pictures: Path
    seed: int
    threads: int

    @property
    def teacher_file(self) -> Path:
        return self.folder / f"teacher-{self.seed}.pt"


def save_sets(sets: Sets, folder: Path) -> None:
    """Put the decoded images where every job finds them."""
    data = [{"images": s.images, "labels": s.labels, "classes": list(s.classes)} for s in sets]
    torch.save(data, folder / "images.pt")


def load_sets(folder: Path) -> Sets:
    """Read what save_sets wrote."""
    data = torch.load(folder / "images.pt", weights_only=True)
    train_set, val_set, test_set = (
        ImageSet(item["images"], item["labels"], item["classes"]) for item in data
    )
    return train_set, val_set, test_set


def new_classes(classes: int, seed: int) -> list[int]:
    """The category that arrives later: another one for each seed, the last one first."""
    return [(classes - 1 - seed) % classes]


def seen_classes(classes: int, seed: int) -> list[int]:
    """The two categories that the device has images of: another pair for each seed."""
    first = 2 * seed % classes
    return sorted({first, (first + 1) % classes})


def teacher_job(job: Job) -> dict[str, Any]:
    """Train the teacher on all categories."""
    start = _begin(job)
    train_set, val_set, test_set = load_sets(job.folder)
    model = _new_teacher(job, train_set)
    result = train(
        model,
        _batches(job, train_set, job.preset.augment),
        val_loader=_in_order(val_set),
        test_loader=_in_order(test_set),
        **_options(job, job.preset.teacher),
    )
    torch.save(model.state_dict(), job.teacher_file)
    params = sum(parameter.numel() for parameter in model.parameters())
    return {"accuracy": result.test_accuracy, "params": params, "seconds": time.time() - start}


def compression_job(job: Job) -> dict[str, Any]:
    """Cut a student for each threshold; train it with transfer, and on labels alone."""
    start = _begin(job)
    train_set, val_set, test_set = load_sets(job.folder)
    teacher = _load_teacher(job, train_set)
    loader = _batches(job, train_set, job.preset.augment)
    plans = _plan(job, teacher, train_set)
    if job.seed == 0:
        image = next(iter(_in_order(test_set)))[0][0]
        save_pictures(plans.at(job.preset.device_threshold), job.pictures, image)
    rows = []
    common = {
        "val_loader": _in_order(val_set),
        "test_loader": _in_order(test_set),
        **_options(job, job.preset.student),
    }
    for P in job.preset.thresholds:
        at = plans.at(P)
        student = at.build()
        cut = _accuracy(student, test_set)
        transferred = transfer(student, teacher, loader, lambdas=job.preset.lambdas, **common)
        alone = train(at.build(), loader, **common)
        rows.append(
            {
                "P": P,
                "params": at.params,
                "macs": at.macs,
                "ratio": at.ratio,
                "widths": at.widths,
                "cut": cut,
                "accuracy": transferred.test_accuracy,
                "independent": alone.test_accuracy,
            }
        )
    return {
        "rows": rows,
        "table": plans.at(job.preset.device_threshold).table(),
        "teacher_macs": plans.teacher.macs,
        "seconds": time.time() - start,
    }


def incremental_job(job: Job) -> dict[str, Any]:
    """Nine categories first, then images of the tenth alone (Table 4): with transfer, without.

    Both learn with the same steps, rate and layers; both are measured after the last step.
    Transfer leaves the labels (J_3) out: the teacher knows the new category, and labels that are
    all the same are what drives out the old ones.
    """
    start = _begin(job)
    train_set, _, test_set = load_sets(job.folder)
    teacher = _load_teacher(job, train_set)
    new = new_classes(len(train_set.classes), job.seed)
    old_images, new_images = class_incremental(train_set, new)
    base = _device_plan(job, teacher, train_set).build()
    transfer(
        base,
        teacher,
        _batches(job, old_images, job.preset.augment),
        lambdas=job.preset.lambdas,
        **_options(job, job.preset.base),
    )
    found = {"before": _old_and_new(base, test_set, new)}
    loader = _batches(job, new_images, job.preset.augment)
    options = _options(job, job.preset.incremental)
    student = copy.deepcopy(base)
    transfer(student, teacher, loader, labels=None, **options)
    found["transfer"] = _old_and_new(student, test_set, new)
    student = copy.deepcopy(base)
    train(student, loader, **options)
    found["finetune"] = _old_and_new(student, test_set, new)
    return {**found, "new": new, "seconds": time.time() - start}


def unseen_job(job: Job) -> dict[str, Any]:
    """Images of two categories; the other eight are asked for (Table 7), ten answers possible.

    transfer has no labels. independent has labels and no teacher. fitnet has both. "inherited" is
    the student as it was cut, and "fresh" is transfer to a student whose weights have seen no
    image at all: inherited weights have, in the teacher, seen every category.
    """
    start = _begin(job)
    train_set, _, test_set = load_sets(job.folder)
    teacher = _load_teacher(job, train_set)
    seen = seen_classes(len(train_set.classes), job.seed)
    seen_images, _ = unseen_split(train_set, seen)
    _, unseen_images = unseen_split(test_set, seen)
    loader = _batches(job, seen_images, job.preset.unseen_augment)
    options = _options(job, job.preset.unseen)
    asked = {"teacher_batch_norm": job.preset.unseen_teacher_batch_norm}
    taught = {**options, **asked, "lambdas": job.preset.lambdas}
    device = _device_plan(job, teacher, train_set)
    found = {"inherited": _accuracy(device.build(), unseen_images)}
    student = device.build()
    transfer(student, teacher, loader, labels=None, **taught)
    found["transfer"] = _accuracy(student, unseen_images)
    fresh = _device_plan(job, teacher, train_set, init="fresh").build()
    transfer(fresh, teacher, loader, labels=None, **taught)
    found["fresh"] = _accuracy(fresh, unseen_images)
    student = device.build()
    train(student, loader, **options)
    found["independent"] = _accuracy(student, unseen_images)
    student = device.build()
    fitnet(student, teacher, loader, **options, **asked)
    found["fitnet"] = _accuracy(student, unseen_images)
    return {**found, "seen": seen, "seconds": time.time() - start}


def _begin(job: Job) -> float:
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    return time.time()


def _new_teacher(job: Job, images: ImageSet) -> nn.Module:
    channels = images.images.shape[1]
    return create(
        job.preset.model,
        num_classes=len(images.classes),
        in_channels=channels,
        **job.preset.model_options,
    )


def _load_teacher(job: Job, images: ImageSet) -> nn.Module:
    model = _new_teacher(job, images)
    model.load_state_dict(torch.load(job.teacher_file, weights_only=True))
    return model.eval()


def _plan(job: Job, teacher: nn.Module, images: ImageSet, **options: Any) -> Plan:
    loader = BatchLoader(images, job.preset.batch_size, seed=job.seed)
    limit = job.preset.profile_images
    return plan(teacher, 1.0, loader, max_images=limit, seed=job.seed, **options)


def _device_plan(job: Job, teacher: nn.Module, images: ImageSet, **options: Any) -> Plan:
    return _plan(job, teacher, images, **options).at(job.preset.device_threshold)


def _batches(job: Job, images: ImageSet, augment: dict[str, Any]) -> BatchLoader:
    return BatchLoader(images, job.preset.batch_size, augment=Augment(**augment), seed=job.seed)


def _in_order(images: ImageSet) -> BatchLoader:
    return BatchLoader(images, 256, shuffle=False)


def _options(job: Job, schedule: dict[str, Any]) -> dict[str, Any]:
    return {**schedule, "seed": job.seed, "progress": False}


def _accuracy(model: Student, images: ImageSet) -> float:
    return evaluate(model, _in_order(images)).accuracy


def _old_and_new(model: Student, images: ImageSet, new: list[int]) -> dict[str, float]:
    return evaluate(model, _in_order(images)).old_and_new(new)
