"""Giving images: what a device writes of labelled images that its cloud may train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyedge.classes.names import checked_names
from pyedge.images.edge_images import EdgeImages
from pyedge.images.given_file import write_given
from pyedge.images.labels import ids_or_names
from pyedge.student.file import StudentFile

_WHERE = "give_images"


def given_of(student: StudentFile, images: Any, labels: Any) -> Callable[[Path], None]:
    """Return a function that writes images and the names of their classes.

    Raises ValueError and TypeError for what does not fit the student, or has not 8 bits.
    """
    found = EdgeImages.of(
        images, student.input_shape, labelled=None, preprocessing=student.preprocessing
    )
    if not len(found):
        raise ValueError(f"{_WHERE}: images: wanted at least one, got none")
    given = ids_or_names(
        labels, f"{_WHERE}: labels", count=len(found), classes=len(student.classes)
    )
    if given.dtype.kind == "i":
        given = np.array(student.classes)[given]
    names, places = np.unique(given, return_inverse=True)
    classes = checked_names(names.tolist(), f"{_WHERE}: labels")
    pixels = np.asarray(found.planar(np.arange(len(found), dtype=np.int64)))
    if pixels.dtype != np.uint8:
        raise TypeError(f"{_WHERE}: images: wanted uint8 pixels, got {pixels.dtype}")
    numbers = places.reshape(-1).astype(np.int64)
    return lambda path: write_given(path, pixels, numbers, classes)
