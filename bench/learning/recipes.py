"""How teacher and student of each data set are made: all that decides them, beside the images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyedge.demo.presets import DIGITS, IMAGES


@dataclass(frozen=True)
class Recipe:
    """builder, options: of pyedge.models. teacher_file: a state_dict that is there already.

    teacher, student: options of train and transfer; few, few_teacher: what differs for a base of
    two classes. unseen: the teacher is trained on the base classes alone. teacher_seed: None for
    the run's.
    """

    builder: str
    options: dict[str, Any]
    student: dict[str, Any]
    teacher: dict[str, Any] = field(default_factory=dict)
    few: dict[str, Any] = field(default_factory=dict)
    few_teacher: dict[str, Any] = field(default_factory=dict)
    teacher_file: str | None = None
    teacher_seed: int | None = None
    unseen: bool = False
    batch_size: int = 128
    augment: dict[str, Any] = field(default_factory=lambda: dict(IMAGES.augment))
    lambdas: tuple[float, float, float] = IMAGES.lambdas
    P: float = 0.7
    profile_images: int = 1024
    channels: int = 3

    def student_options(self, base_classes: int) -> dict[str, Any]:
        """The options of the student's transfer."""
        return {**self.student, **(self.few if base_classes <= 2 else {})}

    def teacher_options(self, classes: int) -> dict[str, Any]:
        """The options of the training of a teacher of so many classes."""
        return {**self.teacher, **(self.few_teacher if classes <= 2 else {})}


_FAST = {"lr": 0.1, "channels_last": True}
_DIGITS: dict[str, Any] = {
    "builder": DIGITS.model,
    "options": DIGITS.model_options,
    "teacher": DIGITS.teacher,
    "student": DIGITS.base,
    # two classes have 5 batches an epoch, nine have 19
    "few": {"epochs": 10},
    "batch_size": DIGITS.batch_size,
    "augment": DIGITS.augment,
    "lambdas": DIGITS.lambdas,
    "channels": 1,
}
RECIPES = {
    "digits": Recipe(**_DIGITS),
    "digits-unseen": Recipe(**_DIGITS, unseen=True),
    "cifar10": Recipe(
        builder="resnet56",
        options={},
        teacher_file="resnet56_cifar10.pt",
        student={"steps": 700, **_FAST},
        few={"steps": 350},
    ),
    # what a core can train in a quarter of an hour
    "cifar10-unseen": Recipe(
        builder="resnet20",
        options={},
        teacher={"steps": 1200, **_FAST},
        student={"steps": 500, **_FAST},
        few={"steps": 250},
        few_teacher={"steps": 600},
        unseen=True,
    ),
    "imagenet10": Recipe(
        builder="resnet18",
        options={"width": 32},
        teacher={"epochs": 25, "lr": 0.05, "channels_last": True},
        teacher_seed=0,
        student={"epochs": 10, "lr": 0.05, "channels_last": True},
        few={"epochs": 20},
        batch_size=64,
        augment={"crop_padding": 8, "flip": True, "cutout": 0},
    ),
}
