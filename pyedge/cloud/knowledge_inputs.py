"""The teacher, the student's file and the images of a pack, and whether they fit."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pyedge.arguments import kind_of
from pyedge.classes.matching import absent, listing, unknown
from pyedge.classes.names import checked_names
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.describe import student_file
from pyedge.cloud.exporting.preprocessing import doubt
from pyedge.cloud.exporting.tail import MASKED
from pyedge.cloud.feed.batch import Source, split
from pyedge.cloud.feed.loaders import Feed, check_loader
from pyedge.cloud.feed.networks import check_network
from pyedge.cloud.graph.rewrite import device_of
from pyedge.cloud.graph.siblings import facing
from pyedge.cloud.training.trainable import teaching_mode
from pyedge.cloud.training.transfer import tapped_teacher
from pyedge.data.batch_loader import BatchLoader
from pyedge.data.imageset import ImageSet
from pyedge.images.edge_images import EdgeImages
from pyedge.knowledge.format import GroupSpec
from pyedge.student.archive import read_student
from pyedge.student.file import StudentFile
from pyedge.warning import warn


@dataclass(frozen=True)
class Pair:
    """A tapped teacher and the student that learns from it, checked to fit each other.

    logits: how many classes the teacher knows. groups: candidate blocks, and their maps h w at
    the student's c channels.
    """

    teacher: nn.Module
    student: StudentFile
    logits: int
    groups: tuple[GroupSpec, ...]

    @cached_property
    def structure(self) -> str:
        """The digest of the student's structure, which a service needs for each request."""
        return self.student.structure_digest

    @property
    def device(self) -> torch.device:
        """Where the teacher computes."""
        return device_of(self.teacher)

    def answer(self, images: np.ndarray) -> tuple[Tensor, list[list[Tensor]]]:
        """Return the teacher's logits and maps for preprocessed images [n, c, h, w]."""
        logits, maps = self.teacher(torch.from_numpy(images).to(self.device))
        # a class that the network masks by minus infinity: the number that an export gives it
        return logits.float().masked_fill(logits == -torch.inf, MASKED), maps

    def class_names(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        """Return the names of the teacher's classes: given by the caller, or the student's.

        Raises ValueError unless there is one name for each logit.
        """
        names: Sequence[str] = self.student.classes
        if classes is not None:
            # a student that is there already keeps its names, odd or not
            there = isinstance(classes, (list, tuple)) and list(classes) == list(names)
            names = names if there else checked_names(classes, "make_knowledge: classes")
        if len(names) != self.logits:
            hint = "; pass classes=, the teacher's" if classes is None else ""
            raise ValueError(
                f"make_knowledge: the teacher gives {self.logits} logits, wanted as many different "
                f"names of classes, got {len(names)} ({listing(names)}){hint}"
            )
        missing = absent(self.student.classes, names)
        if missing:
            warn(
                f"make_knowledge: the teacher knows no class {unknown(missing, names)}; the "
                f"student cannot learn its answers (J_1), which are found by these names"
            )
        return tuple(names)


def teacher_stands_first(first: Any, second: Any) -> bool:
    """Tell whether (first, second) are (teacher, student), the order of the previous version.

    Raises TypeError for two students of `pyedge.compress`, each of which can teach the other.
    """
    if first is second:  # a student as its own teacher
        return False
    if isinstance(first, Student) and isinstance(second, Student):
        raise TypeError(
            "make_knowledge: wanted student=..., teacher=... by name, since both are results of "
            "pyedge.compress and the student comes first now, got two Students by place"
        )
    of_student = (Student, StudentFile, str, os.PathLike)
    return isinstance(second, of_student) and not isinstance(first, of_student[1:])


def student_of(student: Any) -> StudentFile:
    """Return the student as a device knows it, as export would write it."""
    if isinstance(student, StudentFile):
        return student
    if isinstance(student, (str, os.PathLike)):
        return read_student(student)
    if not isinstance(student, Student):
        raise TypeError(
            f"make_knowledge: student: wanted a StudentFile, the path of one, or the result of "
            f"pyedge.compress, got {kind_of(student)}"
        )
    file = student_file(student)
    doubted = doubt(student, None, file.input_shape)
    if doubted is not None:
        warn(f"make_knowledge: {doubted}")
    return file


def images_of(
    images: Any, input_shape: tuple[int, int, int], preprocessing: Mapping[str, Any]
) -> EdgeImages:
    """Take images as a device would, and also torch tensors, ImageSets, Datasets and loaders."""
    if isinstance(images, ImageSet):
        images = images.images
    if isinstance(images, Tensor):
        images = _array(images)
    elif _yields_batches(images):
        source = Source("make_knowledge", "images")
        if not isinstance(images, Dataset):
            check_loader(images, source)
        images = (_array(split(item, source, labels=False)[0]) for item in Feed(images, source))
    found = EdgeImages.of(images, input_shape, labelled=None, preprocessing=preprocessing)
    if not len(found):
        raise ValueError("make_knowledge: images: wanted at least one, got none")
    return found


def _yields_batches(images: Any) -> bool:
    """Tell whether this is a Dataset or loader for `feed.batch`, and not what a device takes."""
    if isinstance(images, (Dataset, DataLoader, BatchLoader)):
        return True
    if not isinstance(images, (list, tuple)) or not images:
        return False
    first = images[0]
    several = isinstance(first, (list, tuple)) and len(first) > 2 and hasattr(first[0], "shape")
    return several or isinstance(first, Mapping) or dataclasses.is_dataclass(first)


def _array(images: Any) -> Any:
    return images.detach().cpu().numpy() if isinstance(images, Tensor) else images


def fit(teacher: nn.Module, student: StudentFile) -> Pair:
    """Tap the teacher, run it on one image, and check that its output fits the student.

    Raises ValueError if groups, channels or sizes of maps differ, StructureError for a teacher
    whose groups cannot be found.
    """
    check_network(teacher, "make_knowledge", "teacher")
    example = torch.zeros(1, *student.input_shape, device=device_of(teacher)).float()
    teacher = tapped_teacher(teacher, example, "make_knowledge")
    teacher = facing(teacher, student.teacher_channels)
    with torch.no_grad(), teaching_mode(teacher, "frozen"):
        logits, maps = Pair(teacher, student, 0, ()).answer(example.cpu().numpy())
    if len(maps) != len(student.taps):
        raise ValueError(
            f"make_knowledge: the teacher has {len(maps)} groups, the student {len(student.taps)}"
        )
    layers = student.layers()
    groups = []
    for g, blocks in enumerate(maps):
        c, h, w = layers[student.taps[g]].shape
        wanted = (student.teacher_channels[g], h, w)
        for block in blocks:
            if tuple(block.shape[1:]) != wanted:
                raise ValueError(
                    f"make_knowledge: in group {g} the student faces maps of {list(wanted)} c h w, "
                    f"the teacher has {list(block.shape[1:])}: it is not the student's teacher"
                )
        groups.append(GroupSpec(len(blocks), (h, w, c)))
    return Pair(teacher, student, logits.shape[1], tuple(groups))


def digest_of(teacher: nn.Module) -> str:
    """Return a digest of a network's weights: SHA-256 over names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(teacher.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {list(array.shape)} ".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
