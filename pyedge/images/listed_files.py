"""A folder of images as an array that is read where it is asked for, and may be any size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.errors import FormatError
from pyedge.images.edge_images import EdgeImages
from pyedge.images.entries import Entry
from pyedge.images.file_kinds import HEAD_BYTES, foreign
from pyedge.images.folder import Pixels, chosen_files, decode_entries, no_images
from pyedge.images.layout import Shape, checked_shape
from pyedge.images.left_out import LeftOut
from pyedge.images.parts import part_files
from pyedge.images.resize import Resize

_READERS = 8  # threads that look at the heads of files


class ListedFiles:
    """The images of files below a folder, uint8 [n, h, w, c], to be asked for some rows.

    Another process may be handed it, and reads the same files, where it finds the folder.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, folder: str, files: Sequence[str], shape: Shape, resize: Resize | None
    ) -> None:
        self._folder = os.path.abspath(folder)
        self._files = np.array(files, dtype=object)
        self._image = checked_shape(shape)
        self._resize = resize

    def __len__(self) -> int:
        return len(self._files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The number of images, and h w c of each."""
        c, h, w = self._image
        return len(self), h, w, c

    @property
    def nbytes(self) -> int:
        """The bytes that all images would take in memory."""
        return int(np.prod(self.shape))

    def __getitem__(self, rows: Any) -> Pixels:
        """Read some images: at a place, a slice, places or a mask.

        Raises FormatError, naming the file, for one that cannot be decoded, or is none any more.
        """
        chosen = self._files[rows]
        if isinstance(chosen, str):
            return self[[rows]][0]
        names = chosen.tolist()
        if not names:
            return np.empty((0, *self.shape[1:]), self.dtype)
        entries = {name: Entry(name, Path(self._folder, name).read_bytes) for name in names}
        left_out = LeftOut()
        kept, array = decode_entries(
            self._folder, entries, names, self._image, left_out, self._resize
        )
        if len(kept) < len(names):
            raise FormatError(f"{self._folder}: no images any more: {left_out.told()}")
        return array

    def at(self, rows: NDArray[np.int64]) -> ListedFiles:
        """Return the files at these places, without reading them."""
        return ListedFiles(self._folder, self._files[rows].tolist(), self._image, self._resize)


def listed_folder(
    path: str | os.PathLike[str],
    input_shape: Shape,
    *,
    labelled: bool | None = True,
    splits: bool | None = None,
    resize: Resize | None = None,
) -> EdgeImages:
    """List the images that `read_folder` would read, with the same rows, labels and warnings.

    An archive, or a single image, is read at once. Raises as `read_folder`, but for what is found
    only when a file is decoded: that is told when it is asked for.
    """
    if not os.path.isdir(path):
        from pyedge.images.folder import read_folder

        read = read_folder(path, input_shape, labelled=labelled, splits=splits, resize=resize)
        return EdgeImages(read.array, True, read.labels, read.class_names)
    found = chosen_files(path, labelled=labelled, splits=splits)
    kept = _images_among(found.path, found.files, found.left_out)
    labels = found.labels_of(kept)
    found.left_out.warn(found.path, len(kept))
    files: Any = ListedFiles(found.path, kept, input_shape, resize)
    return EdgeImages(files, True, labels, found.classes)


def listed_part(
    path: str | os.PathLike[str],
    input_shape: Shape,
    part: str,
    *,
    seed: int = 0,
    splits: bool | None = None,
    resize: Resize | None = None,
) -> EdgeImages:
    """List the images of a part of a folder, as `pyedge.images.parts.read_part` reads them."""
    found = part_files(path, part, splits=splits)
    kept = _images_among(found.path, found.files, found.left_out)
    labels, rows = found.part_of(kept, seed)
    files: Any = ListedFiles(found.path, kept, input_shape, resize)
    images = EdgeImages(files, True, labels, found.classes)
    return images if rows is None else listed_subset(images, rows)


def listed_subset(images: EdgeImages, rows: NDArray[np.int64]) -> EdgeImages:
    """Return the images at these places, as `EdgeImages.subset`; listed files stay unread."""
    array: Any = images.array
    if not isinstance(array, ListedFiles):
        return images.subset(rows)
    labels = None if images.labels is None else images.labels[rows]
    listed: Any = array.at(rows)
    return replace(images, array=listed, labels=labels)


def _images_among(folder: str, files: Sequence[str], left_out: LeftOut) -> list[str]:
    """Return the files that may be images, by their first bytes; the others go to `left_out`."""
    with ThreadPoolExecutor(_READERS) as pool:
        reasons = pool.map(_why_not, (os.path.join(folder, file) for file in files))
        kept = []
        for file, reason in zip(files, reasons, strict=True):
            if reason is None:
                kept.append(file)
            else:
                left_out.add(file, reason)
    if not kept:
        raise no_images(folder, left_out)
    return kept


def _why_not(path: str) -> str | None:
    """Return why a file is surely not an image, by its first bytes."""
    with open(path, "rb") as file:
        return foreign(file.read(HEAD_BYTES))
