"""A job of the demonstration: its inputs, and what several jobs share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyedge.cloud.compression.compress import plan
from pyedge.cloud.compression.plan import Plan
from pyedge.cloud.training.evaluate import Evaluation, evaluate
from pyedge.data import Augment, BatchLoader, ImageSet
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

    def scratch(self, name: str) -> Path:
        """A new folder for this job alone."""
        path = self.folder / f"{name}-{self.seed}"
        path.mkdir()
        return path


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


def begin(job: Job) -> float:
    """Set this process up, and return the time."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    return time.time()


def new_teacher(job: Job, images: ImageSet) -> nn.Module:
    """A teacher with fresh weights."""
    channels = images.images.shape[1]
    return create(
        job.preset.model,
        num_classes=len(images.classes),
        in_channels=channels,
        **job.preset.model_options,
    )


def load_teacher(job: Job, images: ImageSet) -> nn.Module:
    """The teacher that the first stage has trained."""
    model = new_teacher(job, images)
    model.load_state_dict(torch.load(job.teacher_file, weights_only=True))
    return model.eval()


def plan_of(job: Job, teacher: nn.Module, images: ImageSet, **more: Any) -> Plan:
    """Measure the zeros, once for all thresholds."""
    loader = BatchLoader(images, job.preset.batch_size, seed=job.seed)
    limit = job.preset.profile_images
    return plan(teacher, 1.0, loader, max_images=limit, seed=job.seed, **more)


def device_plan(job: Job, teacher: nn.Module, images: ImageSet, **more: Any) -> Plan:
    """The plan of the student that goes to the device."""
    return plan_of(job, teacher, images, **more).at(job.preset.device_threshold)


def batches(job: Job, images: ImageSet, augment: dict[str, Any]) -> BatchLoader:
    """Batches to train on."""
    return BatchLoader(images, job.preset.batch_size, augment=Augment(**augment), seed=job.seed)


def in_order(images: ImageSet) -> BatchLoader:
    """Batches to evaluate on."""
    return BatchLoader(images, 256, shuffle=False)


def options_of(job: Job, schedule: dict[str, Any]) -> dict[str, Any]:
    """The options of a training run in torch."""
    return {**schedule, "seed": job.seed, "progress": False}


def tested(model: nn.Module, images: ImageSet) -> Evaluation:
    """Evaluate a network on test images."""
    return evaluate(model, in_order(images))
