"""make_knowledge: record what a teacher knows about images, for a device that cannot run it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pyedge.arguments import choice, flag, kind_of, plain_number, whole
from pyedge.cloud.compression.student import Student
from pyedge.cloud.knowledge_asking import Answered, Asking
from pyedge.cloud.knowledge_folder import check_space, check_target, new_pack
from pyedge.cloud.knowledge_inputs import (
    digest_of,
    fit,
    images_of,
    student_of,
    teacher_stands_first,
)
from pyedge.cloud.knowledge_plan import bytes_of, full_manifest, planned
from pyedge.cloud.knowledge_recorder import Recorder
from pyedge.cloud.knowledge_views import draw_views, preprocess
from pyedge.cloud.shown import compare, shown_in, shown_to
from pyedge.cloud.training.progress import TrainingBar
from pyedge.data.augment import Augment
from pyedge.images.digests import DIGEST_BYTES
from pyedge.images.doubts import Doubts, wanted
from pyedge.images.edge_images import EdgeImages, resize_of
from pyedge.images.listed_files import listed_folder
from pyedge.images.pixels import Look, contradicts
from pyedge.keywords import keywords
from pyedge.knowledge.format import DTYPES, Manifest
from pyedge.knowledge.pack import Knowledge
from pyedge.runs.run_options import BATCH_NORMS
from pyedge.student.file import StudentFile
from pyedge.warning import warn

_WHERE = "make_knowledge"


@keywords(old_order=teacher_stands_first)
def make_knowledge(
    student: Student | StudentFile | str | os.PathLike[str],
    teacher: nn.Module,
    images: Any,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    dtype: str = "float16",
    views: int = 1,
    augment: Augment | None = None,
    plain_view: bool = True,
    seed: int = 0,
    batch_size: int = 128,
    teacher_batch_norm: str = "frozen",
    workers: int | None = None,
    progress: bool = True,
) -> Knowledge:
    """Write a knowledge pack: a teacher's answers to images, and its maps for a student's channels.

    The pack is a folder at `path` that appears whole or not at all; it replaces an older pack,
    but nothing else. It serves one structure of student, with these images; labels are neither
    needed nor kept. Maps are written as they are computed, so a pack may be larger than memory;
    `knowledge_bytes` tells its size beforehand.

    student: its file (.pyedge), a StudentFile, or the result of `pyedge.compress`. teacher: a
    network, or `tap_teacher` of one, on the device where it is to compute. images: uint8
    [n, c, h, w] or [n, h, w, c], float32 that are preprocessed, an ImageSet, or a folder of class
    folders. classes: names of the teacher's classes, needed if they are not the student's.

    dtype: "float16", or "int8" for half the size: symmetric, with one scale for each image's map.
    views: how many of each image; the first is the image itself (unless `plain_view` is False), the
    others are cropped and mirrored as `augment` draws from `seed`; by default Augment with an
    eighth of the height, mirrored if images have three channels. cutout must be 0, since a device
    cannot repeat it. teacher_batch_norm: "frozen", or the statistics of each "batch" of images,
    which are then taken in random order. workers: how many processes of Ray ask the teacher, each
    on one CPU, and on a GPU if the teacher is on one; None: this process alone. The pack is the
    same; with workers, the files of a folder are read by them, and never held all at once
    (docs/cloud.md).

    uint8 images are preprocessed for the teacher as the student's file says; a warning says if the
    teacher, or the student before its export, was shown images on another scale. Raises ValueError
    if teacher, student and images do not fit each other, and for answers that are not finite;
    FileExistsError and, on a full disk, OSError, before the work begins if that can be known. After
    an error nothing is left behind.
    """
    choice(dtype, f"{_WHERE}: dtype", DTYPES)
    choice(teacher_batch_norm, f"{_WHERE}: teacher_batch_norm", BATCH_NORMS)
    views = whole(views, f"{_WHERE}: views", 1)
    batch_size = whole(batch_size, f"{_WHERE}: batch_size", 1)
    seed = whole(seed, f"{_WHERE}: seed", 0)
    plain_view = flag(plain_view, f"{_WHERE}: plain_view")
    workers = None if workers is None else whole(workers, f"{_WHERE}: workers", 1)
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{_WHERE}: path: wanted that of a folder, got {kind_of(path)}")
    check_target(path)
    file = student_of(student)
    if workers is None or not isinstance(images, (str, os.PathLike)):
        given = images_of(images, file.input_shape, file.preprocessing)
    else:
        resize = resize_of(file.preprocessing)
        given = listed_folder(images, file.input_shape, labelled=None, resize=resize)
    augment = _checked(augment, file.input_shape)
    pair = fit(teacher, file)
    _doubt(teacher, file, given)
    manifest = full_manifest(
        pair,
        given,
        None,
        classes=pair.class_names(classes),
        teacher=digest_of(pair.teacher),
        dtype=dtype,
        views=views,
        settings={
            "augment": {"crop_padding": augment.crop_padding, "flip": augment.flip},
            "plain_view": plain_view,
            "seed": seed,
            "teacher_batch_norm": teacher_batch_norm,
            "batch_size": batch_size,
        },
    )
    check_space(path, bytes_of(manifest))
    drawn = draw_views(len(given), views, file.input_shape, augment, seed, plain_view)
    batches = _batches(manifest, batch_size, seed if teacher_batch_norm == "batch" else None)
    asking = Asking(pair, given, drawn, manifest, teacher_batch_norm)
    digests = np.empty((len(given), DIGEST_BYTES), dtype=np.uint8)
    with (
        new_pack(path) as folder,
        TrainingBar("knowledge", len(batches), progress) as bar,
        Recorder(folder, manifest) as recorder,
    ):
        asked = asking.all(batches) if workers is None else _spread(asking, batches, workers)
        for step, (rows, answers, of_images) in enumerate(asked, 1):
            recorder.put(answers, rows)
            if of_images is not None:
                digests[rows] = of_images
            bar.update(step, {}, ())
        recorder.finish(drawn, digests)
    return Knowledge(path, verify=False)


@keywords(old_order=teacher_stands_first)
def knowledge_bytes(
    student: Student | StudentFile | str | os.PathLike[str],
    teacher: nn.Module,
    images: Any,
    *,
    dtype: str = "float16",
    views: int = 1,
) -> int:
    """Return the bytes of the pack that `make_knowledge` would write, without its manifest.

    images: as there, or just their number. Runs the teacher on one image. A float16 pack takes 4
    bytes more for each image, view and block if some maps do not fit float16. Raises as
    `make_knowledge`.
    """
    choice(dtype, "knowledge_bytes: dtype", DTYPES)
    views = whole(views, "knowledge_bytes: views", 1)
    file = student_of(student)
    images = plain_number(images)
    if not isinstance(images, int):
        images = len(images_of(images, file.input_shape, file.preprocessing))
    return bytes_of(planned(fit(teacher, file), images, dtype, views))


def _doubt(teacher: nn.Module, file: StudentFile, images: EdgeImages) -> None:
    """Warn if the teacher is about to be shown images on another scale than it knows."""
    Doubts(file.preprocessing).look(images, "make_knowledge")
    rows = np.unique(np.linspace(0, len(images) - 1, 16).astype(np.int64))
    look = Look.of(preprocess(images, rows, file.preprocessing))
    compare(teacher, look, "make_knowledge", "the teacher")
    shown = shown_in(file.record)
    if shown_to(teacher) is None and shown is not None and contradicts(shown, file.preprocessing):
        warn(
            "make_knowledge: pixels go to the teacher as the student's file says, as "
            f"{wanted(file.preprocessing)}; but before its export the student was shown images "
            f"with {shown}"
        )


def _spread(
    asking: Asking, batches: Sequence[NDArray[np.int64]], workers: int
) -> Iterator[Answered]:
    """Answer batch after batch, in processes of Ray."""
    from pyedge.cloud.jobs.spread import spread

    return spread(asking, batches, workers, _WHERE, gpus=int(asking.pair.device.type == "cuda"))


def _checked(augment: Augment | None, shape: tuple[int, int, int]) -> Augment:
    c, h, w = shape
    if augment is None:
        return Augment(crop_padding=max(1, h // 8), flip=c == 3, cutout=0)
    if not isinstance(augment, Augment):
        raise TypeError(
            f"{_WHERE}: augment: wanted a pyedge.data.Augment or None, got {kind_of(augment)}"
        )
    if augment.cutout:
        raise ValueError(
            f"{_WHERE}: augment: wanted cutout=0, since a device does not cut out, got "
            f"{augment.cutout}"
        )
    if augment.crop_padding > min(h, w):
        raise ValueError(
            f"{_WHERE}: augment: wanted crop_padding up to {min(h, w)}, the image's side, got "
            f"{augment.crop_padding}"
        )
    return augment


def _batches(manifest: Manifest, size: int, seed: int | None) -> list[NDArray[np.int64]]:
    """Cut the rows of each view into batches whose sizes differ by at most one, rows rising.

    With `seed`, images are dealt out at random: folders hold one class after another, and the
    statistics of a batch of one class would not be those of the data.
    """
    n, batches = manifest.images, []
    for view in range(manifest.views):
        order = np.arange(n)
        if seed is not None:
            order = np.random.default_rng([seed, view, 1]).permutation(n)
        for part in np.array_split(order, -(-n // size)):
            batches.append(view * n + np.sort(part))
    return batches
