"""Class folders, in a folder or a tar archive, to one array of pixels."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from pyedge.edge.class_folders import arrange
from pyedge.edge.decode import brightness, decode_all, is_image
from pyedge.edge.images import EdgeImages
from pyedge.edge.layout import Shape
from pyedge.edge.sources import Entry, walk
from pyedge.errors import FormatError

Pixels = NDArray[np.uint8]


def read_folder(
    path: str | os.PathLike[str], input_shape: Shape, *, labelled: bool = True
) -> EdgeImages:
    """Read every image below `path` as uint8 [n, h, w, c] of the student's size.

    With `labelled`, classes are the folders' names in alphabetical order, the same as those of
    `pyedge.data.load_folder`, and so are the pixels: shorter sides are resized and the centre is
    cut out (for a student whose input is square; others take images of their own size alone). A
    student of one channel gets the brightness. Without `labelled`, images may lie anywhere, in the
    order of their names.

    Raises FormatError that names the file for a broken image, images outside of class folders and
    folders without images; ValueError for other sizes; ImportError without Pillow;
    FileNotFoundError.
    """
    name = os.fspath(path)
    folders, entries = [], {}
    for entry in walk(path, is_image):
        if entry.read is None:
            folders.append(entry.name)
        else:
            entries[entry.name] = entry
    if not entries:
        raise FormatError(f"{name}: no images (.jpg, .png, ...) in it")
    if not labelled:
        return EdgeImages(decode_entries(name, entries, sorted(entries), input_shape), True)
    arranged = arrange(name, entries, folders)
    if set(arranged.files) != {None}:
        raise FormatError(
            f"{name}: holds train/ or test/, wanted class folders; name one split's folder"
        )
    files = arranged.files[None]
    array = decode_entries(name, entries, [file for file, _ in files], input_shape)
    labels = np.array([label for _, label in files], dtype=np.int64)
    return EdgeImages(array, True, labels, arranged.classes)


def decode_entries(path: str, entries: dict[str, Entry], order: list[str], shape: Shape) -> Pixels:
    """Decode files in the `order` of their names, as `read_folder` does: uint8 [n, h, w, c]."""
    c, h, w = shape
    if c not in (1, 3):
        raise ValueError(f"{path} gives images of 1 or 3 channels, the student takes {c}")
    array = np.empty((len(order), h, w, c), dtype=np.uint8)
    found = decode_all((entries[file] for file in order), h if h == w else None)
    for i, (file, image) in enumerate(found):
        if image.shape[:2] != (h, w):
            raise ValueError(
                f"{path}: {file} is {image.shape[1]}x{image.shape[0]}, the student takes images "
                f"of {w}x{h}"
            )
        array[i] = image if c == 3 else brightness(image)
    return array
