"""Images with labels, turned into the ids of a student's classes."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pyedge.classes.matching import absent, classes_of, numbered, unknown
from pyedge.images.edge_images import EdgeImages, is_dataset
from pyedge.images.labels import ids_or_names

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile


def labelled_images(student: StudentFile, images: Any, labels: Any, title: str) -> EdgeImages:
    """Return images whose labels are the student's ids. Raises ValueError without labels."""
    labels = None if labels is True else labels
    names, where = classes_of(images), f"{title}: labels"
    classes = len(names or student.classes)
    if labels is not None and isinstance(images, (str, os.PathLike)):
        # an array file may lack labels; a folder has its own, and says so
        given = ids_or_names(labels, where, classes=classes)
        found = EdgeImages.of(
            images, student.input_shape, given, preprocessing=student.preprocessing
        )
    else:
        found = EdgeImages.of(images, student.input_shape, preprocessing=student.preprocessing)
        if labels is not None:
            if found.labels is not None and not isinstance(images, EdgeImages):
                raise ValueError(f"{title}: labels: wanted None, as images has labels, got labels")
            found = found.labelled(ids_or_names(labels, where, count=len(found), classes=classes))
    if found.labels is None:
        raise ValueError(f"{title}: wanted labels of {len(found)} images, got none")
    if names and is_dataset(images):
        found = dataclasses.replace(found, class_names=None)  # only those used need be known
    if found.class_names is None and names and not numbered(student.classes):
        found = _named(found, names, student, title)
    return found.with_classes(student.classes)


def _named(
    images: EdgeImages, names: tuple[str, ...], student: StudentFile, title: str
) -> EdgeImages:
    """Name the ids of a data set that names its classes, perhaps in another order than a student's.

    It may have classes without an image here. Raises ValueError for a class that the student does
    not know, since ids would then mean something else.
    """
    assert images.labels is not None
    used, labels = np.unique(images.labels, return_inverse=True)
    if len(used) and int(used[-1]) >= len(names):
        raise ValueError(
            f"{title}: labels: wanted ids in 0..{len(names) - 1}, the {len(names)} classes that "
            f"images name, got {int(used[-1])}"
        )
    here = tuple(names[each] for each in used)
    missing = absent(here, student.classes)
    if missing:
        raise ValueError(
            f"{title}: images name their classes, and the student knows no class "
            f"{unknown(missing, student.classes)}; list(images) leaves the names out"
        )
    return dataclasses.replace(images, labels=labels.astype(np.int64), class_names=here)
