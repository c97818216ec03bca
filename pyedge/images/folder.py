"""Class folders, in a folder or an archive, to one array of pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.errors import FormatError
from pyedge.images.class_folders import Arrangement, LayoutError, arrange
from pyedge.images.decode import Side, brightness, decode_all
from pyedge.images.entries import Entry
from pyedge.images.layout import Shape
from pyedge.images.left_out import LeftOut, shown
from pyedge.images.located import path_text
from pyedge.images.resize import Resize
from pyedge.images.sources import walk
from pyedge.images.split_names import SPLITS, splits_word

Pixels = NDArray[np.uint8]


class Read(NamedTuple):
    """What was read: pixels [n, h, w, c], and their classes if they lie in class folders."""

    array: Pixels
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...] | None


def read_folder(
    path: str | os.PathLike[str],
    input_shape: Shape,
    *,
    labelled: bool | None = True,
    splits: bool | None = None,
    resize: Resize | None = None,
) -> Read:
    """Read every image below `path` as uint8 [n, h, w, c] of the student's size.

    `path` is a folder, a .zip or tar archive of one, or one image. With `labelled`, classes are the
    folders' names in alphabetical order. Classes and pixels are those of `pyedge.data.load_folder`:
    shorter sides are resized and the centre is cut out (for a student with a square input; others
    take only images of their own size), or as `resize` says. A student of one channel gets the
    brightness. Without `labelled`, images may lie anywhere, and are taken in the order of their
    names; None takes labels if the images lie in class folders. `splits`: see
    `pyedge.images.class_folders.arrange`.

    Warns once of files that are left out, with number and reason. Raises FormatError, naming the
    file, for a broken image, images outside class folders and folders without images; ValueError
    for other sizes; ImportError without Pillow; FileNotFoundError.
    """
    found = chosen_files(path, labelled=labelled, splits=splits)
    kept, array = decode_entries(
        found.path, found.entries, found.files, input_shape, found.left_out, resize
    )
    labels = found.labels_of(kept)
    found.left_out.warn(found.path, len(kept))
    return Read(array, labels, found.classes)


class Chosen(NamedTuple):
    """The image files of a place, before they are read: their order, and their classes if any.

    entries: all files by name. ids: of each file's class. left_out: what was not chosen.
    """

    path: str
    entries: dict[str, Entry]
    files: list[str]
    ids: dict[str, int]
    classes: tuple[str, ...] | None
    left_out: LeftOut

    def labels_of(self, kept: Sequence[str]) -> NDArray[np.int64] | None:
        """Return the labels of those that are images; FormatError for a class without any."""
        if self.classes is None:
            return None
        labels = np.array([self.ids[file] for file in kept], dtype=np.int64)
        check_all_there(self.path, labels, self.classes, self.left_out)
        return labels


def chosen_files(
    path: str | os.PathLike[str], *, labelled: bool | None, splits: bool | None
) -> Chosen:
    """List what `read_folder` would read. Raises as it does, but for what is in the files."""
    name = path_text(path)
    splits = splits_word(splits, "EdgeImages")
    left_out = LeftOut()
    entries, folders = entries_of(path, left_out)
    if labelled is not False:
        noted = left_out.copy()
        try:
            arranged = _classes(name, entries, folders, noted, splits)
        except LayoutError:
            if labelled:
                raise
        else:
            ids = dict(arranged.files[None])
            return Chosen(name, entries, list(ids), ids, arranged.classes, noted)
    return Chosen(name, entries, sorted(entries), {}, None, left_out)


class NoImagesError(FormatError):
    """There are files, perhaps, but no images."""


def entries_of(
    path: str | os.PathLike[str], left_out: LeftOut
) -> tuple[dict[str, Entry], list[str]]:
    """Return the image files below `path` by name, and the names of the folders.

    Raises NoImagesError without images, and as `walk`.
    """
    folders, entries = [], {}
    for entry in walk(path, left_out=left_out):
        if entry.read is None:
            folders.append(entry.name)
        else:
            entries[entry.name] = entry
    if not entries:
        raise no_images(path_text(path), left_out)
    return entries, folders


def no_images(path: str, left_out: LeftOut) -> NoImagesError:
    """Return the error for a place without images; it tells what is there instead."""
    told = f"; left out: {left_out.told()}" if left_out else ""
    return NoImagesError(f"{path}: no images (.jpg, .png, ...) in it{told}")


def check_all_there(
    path: str, labels: NDArray[np.int64], classes: Sequence[str], left_out: LeftOut
) -> None:
    """Raise FormatError for a class of which no file has turned out to be an image."""
    lost = sorted(set(range(len(classes))) - set(labels.tolist()))
    if lost:
        raise FormatError(
            f"{path}: the class folder {classes[lost[0]]} holds no images; left out: "
            f"{left_out.told()}"
        )


def _classes(
    path: str,
    entries: dict[str, Entry],
    folders: Sequence[str],
    left_out: LeftOut,
    splits: bool | None,
) -> Arrangement:
    if os.path.isfile(path) and list(entries) == [os.path.basename(path)]:
        raise LayoutError(f"{path}: one image without a label; wanted class folders")
    arranged = arrange(path, entries, folders, left_out, splits=splits, only_classes=True)
    if set(arranged.files) != {None}:
        named = (arranged.folders[split] for split in SPLITS if split in arranged.files)
        raise LayoutError(
            f"{path}: holds {' or '.join(f'{shown(name)}/' for name in named)}, wanted class "
            f"folders; name one split's folder"
        )
    return arranged


def decode_entries(
    path: str,
    entries: dict[str, Entry],
    order: Sequence[str],
    shape: Shape,
    left_out: LeftOut,
    resize: Resize | None = None,
) -> tuple[list[str], Pixels]:
    """Decode files in the `order` of their names, as `read_folder` does: uint8 [n, h, w, c].

    Returns the names of the images, and the images; other files go to `left_out`.
    """
    c, h, w = shape
    array = np.empty((len(order), h, w, c), dtype=np.uint8)
    kept: list[str] = []
    listed = (entries[file] for file in order)
    try:
        for file, image in decode_all(listed, side_of(shape, resize), left_out=left_out):
            array[len(kept)] = fitted(path, file, image, shape)
            kept.append(file)
    except FormatError as error:  # which names the file, and not what it lies in
        alone = os.path.isfile(path) and list(entries) == [os.path.basename(path)]
        where = os.path.dirname(path) if alone else path
        raise FormatError(os.path.join(where, str(error))) from error
    if not kept:
        raise no_images(path, left_out)
    return kept, array[: len(kept)]


def side_of(shape: Shape, resize: Resize | None) -> Side:
    """Return what makes images of a student's size of pictures."""
    _, h, w = shape
    return resize or (h if h == w else None)


def fitted(path: str, file: str, image: Pixels, shape: Shape) -> Pixels:
    """Return a decoded image as a student takes it, [h, w, c]; ValueError for another size."""
    c, h, w = shape
    if c not in (1, 3):
        raise ValueError(f"{path} gives images of 1 or 3 channels, the student takes {c}")
    if image.shape[:2] != (h, w):
        raise ValueError(
            f"{path}: {file} is {image.shape[1]}x{image.shape[0]}, the student takes images of "
            f"{w}x{h}"
        )
    return image if c == 3 else brightness(image)
