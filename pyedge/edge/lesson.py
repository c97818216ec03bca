"""Lesson: what a run learns from, checked before anything is changed.

Images, labels or none, what a teacher left about them, and images held back to validate on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import flag, plain_number
from pyedge.edge.batches import hold_back
from pyedge.edge.labelled import labelled_images
from pyedge.edge.learn_options import LearnOptions
from pyedge.edge.masks import check_masks, refuse_masked_labels
from pyedge.edge.replay import Replay, remembered
from pyedge.images.digests import image_digests, set_digest
from pyedge.images.edge_images import EdgeImages, is_dataset
from pyedge.images.rows import Rows
from pyedge.keywords import deprecated
from pyedge.knowledge.pack import Knowledge

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Validation:
    """Images to validate on: those at `rows` of `images`, with a label each."""

    images: EdgeImages
    rows: Rows
    labels: Labels


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a run learns from: the images at `rows`, each with what is known of it.

    labels int64 [n], or None. places int64 [n]: where the pack has each image, and `columns`:
    where its logits have each of the student's classes; None without knowledge (or without J_1).
    replay: the images of a memory that are mixed with them, or None.
    """

    images: EdgeImages
    rows: Rows
    labels: Labels | None
    knowledge: Knowledge | None
    places: Rows | None
    columns: Rows | None
    validation: Validation | None
    replay: Replay | None = None

    def known(self, rows: Rows, views: Rows | None, options: LearnOptions) -> dict[str, Any]:
        """Return what `Engine.step` is told about images besides their pixels."""
        told: dict[str, Any] = {}
        if self.labels is not None and options.lambdas[2]:
            told["labels"] = self.labels[rows]
        if self.knowledge is None or self.places is None:
            return told
        assert views is not None
        found = self.knowledge.batch(self.places[rows], views, self.columns)
        if not options.lambdas[0]:
            found["logits"] = None
        if not options.lambdas[1] or not self.knowledge.groups:
            found.update(maps=None, map_rows=None, norms=None)
        return {**found, **told}

    def parts(self, options: LearnOptions) -> tuple[str, ...]:
        """Name the losses that there are."""
        taught = self.knowledge is not None
        mapped = self.knowledge is not None and bool(self.knowledge.groups)
        there = (taught, mapped, self.labels is not None)
        names = ("J_1", "J_b", "J_3")
        return tuple(
            name
            for name, has, weight in zip(names, there, options.lambdas, strict=True)
            if has and weight
        )

    def teacher_labels(self) -> Labels:
        """Return the class that the teacher predicts for each image, int64 [n]."""
        return _told(self.knowledge, self.places, self.columns)

    def digests(self) -> dict[str, str]:
        """Tell lessons apart, for a checkpoint."""
        held = self.validation
        more = {} if self.replay is None else {"memory": self.replay.digest}
        return {
            **more,
            "images": set_digest(image_digests(self.images)),
            "labels": _digest(self.labels),
            "rows": _digest(self.rows),
            "knowledge": "none" if self.knowledge is None else self.knowledge.digest,
            "validation": "none"
            if held is None
            else _digest(held.rows, held.labels, image_digests(held.images)),
        }


def lesson(
    student: StudentFile,
    images: Any,
    labels: Any,
    knowledge: Any,
    val: Any,
    options: LearnOptions,
    memory: Any = None,
) -> Lesson:
    """Check that the arguments of `EdgeLearner.learn` fit each other and the student; return them.

    Raises ValueError or TypeError that says what does not fit.
    """
    shape = student.input_shape
    given = _given(student, images, labels)
    if not len(given):
        raise ValueError("learn: images: wanted at least one, got none")
    pack = _pack(knowledge)
    known = given.labels if labels is not None else None
    if pack is None and known is None:
        raise ValueError(
            "learn: wanted labels, knowledge, or both, got neither; labelled=True takes the labels "
            "that images carry"
        )
    places = columns = None
    if pack is not None:
        pack.check(student)
        if tuple(pack.input_shape) != tuple(shape):
            raise ValueError(
                f"learn: knowledge: wanted a pack of images {list(shape)}, got one of "
                f"{list(pack.input_shape)}"
            )
        places = pack.locate(given)
        if options.lambdas[0]:
            columns = _columns(pack, student)
            check_masks(student, pack, places, columns)
        if options.crop_padding or options.flip:
            raise ValueError(
                "learn: crop_padding and flip make images that the pack does not know; make a "
                "pack with several views instead"
            )
    rows: Rows = np.arange(len(given), dtype=np.int64)
    held: Validation | None = None
    val = plain_number(val)
    if isinstance(val, float):
        if not 0 < val < 1:
            raise ValueError(f"learn: val: wanted a share between 0 and 1, got {val!r}")
        rows, back = hold_back(len(given), known, val, options.seed)
        truth = known if known is not None else _told(pack, places, columns)
        held = Validation(given, back, truth[back])
    elif val is not None:
        held = _validation(student, val)
    found = Lesson(given, rows, known, pack, places, columns, held)
    if memory is not None:
        found = _with_memory(found, student, memory, options)
    if not found.parts(options):
        raise ValueError(
            f"learn: lambdas={options.lambdas} leave no loss "
            f"{'without knowledge' if pack is None else 'without labels'}"
        )
    return found


def told_labels(labels: Any, labelled: Any) -> Any:
    """Return labels as `learn` was given them, True for those that the images carry, or None.

    The version before took a flag for labels.
    """
    if type(labels).__name__ in ("bool", "bool_"):
        deprecated("learn: labels that the images carry are labelled=True now, not labels=True")
        labels, labelled = None, bool(labels) or labelled
    labelled = flag(labelled, "learn: labelled")
    if labels is None:
        return True if labelled else None
    if labelled:
        raise ValueError("learn: labelled: wanted False if labels are given, got True")
    return labels


def _with_memory(found: Lesson, student: StudentFile, memory: Any, options: LearnOptions) -> Lesson:
    images, labels = remembered(memory, student, found.images)
    if not {"J_1", "J_3"} & set(found.parts(options)):
        raise ValueError(
            f"learn: lambdas={options.lambdas} leave only J_b, and the images of memory have no "
            "maps of the teacher's; give J_1 or J_3 a weight"
        )
    new = found.labels
    if new is None:
        new = _told(found.knowledge, found.places, found.columns)
    return dataclasses.replace(found, replay=Replay.of(images, labels, new, found.rows))


def _given(student: StudentFile, images: Any, labels: Any) -> EdgeImages:
    if labels is None:
        return EdgeImages.of(
            images, student.input_shape, labelled=False, preprocessing=student.preprocessing
        )
    found = labelled_images(student, images, labels, "learn")
    refuse_masked_labels(student, found)
    return found


def _pack(knowledge: Any) -> Knowledge | None:
    if knowledge is None or isinstance(knowledge, Knowledge):
        return knowledge
    if isinstance(knowledge, (str, os.PathLike)):
        return Knowledge(knowledge)
    raise TypeError(
        f"learn: knowledge: wanted a Knowledge, or the folder of a pack, "
        f"got {type(knowledge).__name__}"
    )


def _columns(pack: Knowledge, student: StudentFile) -> Rows:
    try:
        return pack.columns(student.classes)
    except ValueError as error:
        raise ValueError(
            f"{error}; to learn without the teacher's answers, give J_1 weight 0 in lambdas"
        ) from None


def _told(pack: Knowledge | None, places: Rows | None, columns: Rows | None) -> Labels:
    """Return the teacher's answers, which validation counts as right if there are no labels."""
    assert pack is not None
    assert places is not None
    if columns is None:
        raise ValueError(
            "learn: without labels the teacher's answers are needed: give J_1 a weight in lambdas"
        )
    found = pack.batch(places, 0, columns)["logits"]
    return np.asarray(found.argmax(axis=1), dtype=np.int64)


def _validation(student: StudentFile, val: Any) -> Validation:
    if isinstance(val, tuple):
        if len(val) != 2:
            raise ValueError(f"learn: val: wanted (images, labels), got {len(val)} values")
        found = labelled_images(student, val[0], val[1], "learn: val")
    elif isinstance(val, (EdgeImages, str, os.PathLike)) or is_dataset(val):
        found = labelled_images(student, val, None, "learn: val")
    else:
        raise TypeError(
            "learn: val: wanted (images, labels), a share of the images such as 0.1, a folder or "
            f"EdgeImages, got {type(val).__name__}"
        )
    if not len(found):
        raise ValueError("learn: val: wanted at least one image, got none")
    assert found.labels is not None
    return Validation(found, np.arange(len(found), dtype=np.int64), found.labels)


def _digest(*arrays: NDArray[Any] | None) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none ")
            continue
        digest.update(f"{array.dtype.str} {list(array.shape)} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def weights_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Tell weights apart: a SHA-256 over names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {_digest(arrays[name])} ".encode())
    return digest.hexdigest()
