"""What each scale trains: data, teacher, schedules. A world is a data set with its teacher.

smoke: digits and generated images, seconds. cpu: what two cores train in some hours over all
tables. paper: the paper's networks and schedules (Sec. 5), for a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pyedge.demo.presets import IMAGES

THRESHOLDS = (1.0, 0.9, 0.8, 0.7)


@dataclass(frozen=True)
class World:
    """data: of `bench.paper.images`. builder, options: the teacher's, of pyedge.models.

    teacher, student, base, unseen: options of training the teacher, a student of all classes, of
    the base classes, and without labels. whole: the network that RILOD learns with as it is.
    other: Table 2's network for filters pruned by L1 norm. learn_steps: of a new class on a device,
    which has device_images of each class. compiled: the backend of torch.compile; batches are then
    made on the GPU, if there is one. ingredients: those of Table 1 that are tried here (None: all).
    tries: of how many settings of a method one is chosen (None: all). pixels: the sides of
    ImageNet's images. in_between: whether Tables 3, 4, 5 and 7 have the students between the
    largest and the smallest too.
    """

    name: str
    data: str
    builder: str
    options: dict[str, Any]
    teacher: dict[str, Any]
    student: dict[str, Any]
    base: dict[str, Any]
    unseen: dict[str, Any]
    whole: tuple[str, dict[str, Any]]
    augment: dict[str, Any] = field(default_factory=lambda: dict(IMAGES.augment))
    lambdas: tuple[float, float, float] = (1.0, 10.0, 1.0)
    our_lambdas: tuple[float, float, float] = IMAGES.lambdas
    teacher_file: str | None = None
    other: tuple[str, dict[str, Any]] | None = None
    batch_size: int = 128
    channels: int = 3
    pixels: int = 64
    profile_images: int = 1024
    learn_steps: int = 64
    device_images: int = 500
    thresholds: tuple[float, ...] = THRESHOLDS
    compiled: str | None = None
    students: str = "ResNet {}"
    first_student: int = 1
    ingredients: tuple[str, ...] | None = None
    tries: int | None = None
    in_between: bool = True

    @property
    def largest(self) -> float:
        """The threshold of the largest student."""
        return self.thresholds[0]

    @property
    def smallest(self) -> float:
        """The threshold of the smallest student."""
        return self.thresholds[-1]

    @property
    def ends(self) -> tuple[float, ...]:
        """Those two; one where there is one."""
        return tuple(dict.fromkeys((self.largest, self.smallest)))

    @property
    def learned(self) -> tuple[float, ...]:
        """The thresholds of Tables 3, 4, 5 and 7."""
        return self.thresholds if self.in_between else self.ends

    def student_name(self, P: float) -> str:
        """Return what the paper calls the student of a threshold."""
        return self.students.format(self.first_student + THRESHOLDS.index(P))


_ONE_CORE = {"channels_last": True}
_GPU = {"precision": "bf16-mixed", "channels_last": True}

_SMOKE = World(
    name="cifar",
    data="digits",
    builder="wrn",
    options={"depth": 16, "widths": (8, 12, 16), "stem": 8},
    teacher={"steps": 60, "lr": 0.1, "eval_every": 20},
    student={"steps": 8, "lr": 0.05, "eval_every": 4},
    base={"steps": 8, "lr": 0.05},
    unseen={"steps": 8, "lr": 0.05},
    whole=("wrn", {"depth": 10, "widths": (8, 12, 16), "stem": 8}),
    other=("resnet20", {"width": 8}),
    augment={"crop_padding": 1, "flip": False, "cutout": 2},
    batch_size=64,
    channels=1,
    pixels=8,
    profile_images=128,
    learn_steps=4,
    device_images=20,
    thresholds=(1.0, 0.7),
    tries=1,
)


_CIFAR = World(
    name="cifar",
    data="cifar10",
    builder="resnet56",
    options={},
    teacher={"steps": 2500, "lr": 0.1, "eval_every": 250, **_ONE_CORE},
    student={"steps": 200, "lr": 0.1, "eval_every": 20, **_ONE_CORE},
    base={"steps": 200, "lr": 0.1, "eval_every": 20, **_ONE_CORE},
    unseen={"steps": 200, "lr": 0.1, "eval_every": 50, **_ONE_CORE},
    whole=("resnet20", {}),
    other=("resnet56", {}),
    teacher_file="resnet56_cifar10.pt",
    in_between=False,
)
# what all of CIFAR-10's ingredients are for, a better recipe, is tried elsewhere by two of them
_TWO = ("first block, facing channels", "first block, temperature")
_WRN = replace(
    _CIFAR,
    name="wrn",
    builder="wrn_small",
    students="slim ResNet {}",
    teacher_file=None,
    ingredients=_TWO,
)
_IMAGENET = World(
    name="imagenet",
    data="imagenet10",
    builder="resnet34",
    options={},
    # 71 steps are an epoch of 4,500 images
    teacher={"epochs": 12, "lr": 0.05, "weight_decay": 1e-4, **_ONE_CORE},
    student={"epochs": 3, "lr": 0.05, "weight_decay": 1e-4, **_ONE_CORE},
    base={"epochs": 3, "lr": 0.05, "weight_decay": 1e-4, **_ONE_CORE},
    unseen={"epochs": 3, "lr": 0.05, "weight_decay": 1e-4, **_ONE_CORE},
    whole=("resnet18", {}),
    augment={"crop_padding": 8, "flip": True, "cutout": 0},
    batch_size=64,
    first_student=5,
    ingredients=_TWO,
    in_between=False,
)
_CALTECH = World(
    name="caltech",
    data="caltech101",
    builder="vgg16_bn",
    options={"width": 16, "hidden": 512, "input_size": 64},
    teacher={"epochs": 20, "optimizer": "adam", "lr": 0.001, "schedule": "exponential",
             "weight_decay": 0.0, **_ONE_CORE},
    # 91 steps are an epoch of 5,851 images
    student={"epochs": 4, "optimizer": "adam", "lr": 0.001, "schedule": "exponential",
             "weight_decay": 0.0, "eval_every": 23, **_ONE_CORE},
    base={"epochs": 4, "optimizer": "adam", "lr": 0.001, **_ONE_CORE},
    unseen={"epochs": 4, "optimizer": "adam", "lr": 0.001, **_ONE_CORE},
    whole=("vgg11_bn", {"width": 16, "hidden": None, "input_size": 64}),
    augment={"crop_padding": 4, "flip": True, "cutout": 16},
    batch_size=64,
    students="VGG-16 {}",
    ingredients=_TWO,
    in_between=False,
)  # fmt: skip
_EPOCHS_200 = {"epochs": 200, "lr": 0.1, "schedule": "cosine_epoch", **_GPU}
_EPOCHS_100 = {"epochs": 100, "lr": 0.1, "schedule": "steps", "milestones": (30, 60, 90),
               "weight_decay": 1e-4, **_GPU}  # fmt: skip
_WHOLE: dict[str, Any] = {"compiled": "inductor", "ingredients": None, "in_between": True}
_ADAM = {"epochs": 200, "optimizer": "adam", "schedule": "exponential", "weight_decay": 0.0}

WORLDS: dict[str, dict[str, World]] = {
    "smoke": {
        "cifar": _SMOKE,
        "imagenet": replace(
            _SMOKE,
            name="imagenet",
            builder="resnet18",
            options={"width": 8, "small_input": True},
            whole=("resnet18", {"width": 8, "small_input": True}),
            first_student=5,
            thresholds=(0.7,),
            ingredients=(),
        ),
        "caltech": replace(
            _SMOKE,
            name="caltech",
            data="generated",
            builder="vgg11_bn",
            options={"width": 8, "hidden": 16, "input_size": 32},
            teacher={"epochs": 6, "optimizer": "adam", "lr": 0.003},
            student={"epochs": 2, "optimizer": "adam", "lr": 0.003},
            whole=("vgg11_bn", {"width": 8, "hidden": None, "input_size": 32}),
            students="VGG-16 {}",
            thresholds=(0.7,),
            ingredients=(),
            channels=3,
            batch_size=32,
        ),
    },
    "cpu": {"cifar": _CIFAR, "wrn": _WRN, "imagenet": _IMAGENET, "caltech": _CALTECH},
    "paper": {
        "cifar": replace(
            _CIFAR,
            builder="wrn_28_10",
            teacher=_EPOCHS_200,
            student=_EPOCHS_200,
            base=_EPOCHS_200,
            unseen=_EPOCHS_200,
            whole=("wrn_28_10", {}),
            other=("resnet110", {}),
            teacher_file=None,
            **_WHOLE,
        ),
        "imagenet": replace(
            _IMAGENET, teacher=_EPOCHS_100, student=_EPOCHS_100, base=_EPOCHS_100,
            unseen=_EPOCHS_100, **_WHOLE,
        ),
        "caltech": replace(
            _CALTECH,
            builder="vgg16",
            options={"hidden": 4096, "input_size": 64},
            teacher={**_ADAM, "lr": 0.01, **_GPU},
            student={**_ADAM, "lr": 0.001, **_GPU},
            **_WHOLE,
        ),
    },
}  # fmt: skip
SCALES = tuple(WORLDS)
