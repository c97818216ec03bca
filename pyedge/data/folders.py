"""Class folders, with or without train, val and test above them, in a folder or an archive."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pyedge.class_matching import warn_of_text_order
from pyedge.data import cifar
from pyedge.data.imageset import ImageSet
from pyedge.edge.class_folders import arrange
from pyedge.edge.decode import decode_all, is_image
from pyedge.edge.sources import Entry, walk
from pyedge.errors import FormatError


@dataclass
class Contents:
    """What one pass over a folder or archive found."""

    images: dict[str, np.ndarray] = field(default_factory=dict)  # by relative name, uint8 [h, w, 3]
    batches: dict[str, bytes] = field(default_factory=dict)  # CIFAR-10's official files
    folders: list[str] = field(default_factory=list)


def read_contents(path: str | os.PathLike[str], size: int | None) -> Contents:
    """Read every image and every CIFAR-10 batch below a path; archives take one pass."""
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ValueError(f"size must be a positive number of pixels, got {size!r}")
    found = Contents()

    def images() -> Iterator[Entry]:
        for entry in walk(path, lambda name: is_image(name) or cifar.is_batch(name)):
            if entry.read is None:
                found.folders.append(entry.name)
            elif is_image(entry.name):
                yield entry
            else:
                found.batches[entry.name] = entry.read()

    # Pillow is asked for by the first image, so CIFAR's batches are read without it.
    source = images()
    first = next(source, None)
    if first is not None:
        found.images.update(decode_all(_chain(first, source), size))
    if not found.images and not found.batches:
        raise FormatError(
            f"{os.fspath(path)}: no images (.jpg, .png, ...) and no CIFAR-10 batches in it"
        )
    return found


def _chain(first: Entry, rest: Iterable[Entry]) -> Iterator[Entry]:
    yield first
    yield from rest


def split_folders(path: str, found: Contents) -> dict[str | None, ImageSet]:
    """Arrange images by split and class: {"train": ..., "test": ...}, {None: ...} without splits.

    Raises FormatError as `pyedge.edge.class_folders.arrange`, ValueError for images that differ in
    size.
    """
    arranged = arrange(path, found.images, found.folders)
    _check_one_size(path, found)
    warn_of_text_order(path, arranged.classes)
    return {
        split: _stack(found, files, arranged.classes) for split, files in arranged.files.items()
    }


def _check_one_size(path: str, found: Contents) -> None:
    first_name, first = next(iter(found.images.items()))
    for name, image in found.images.items():
        if image.shape != first.shape:
            raise ValueError(
                f"{path}: images differ in size ({first_name} is "
                f"{first.shape[1]}x{first.shape[0]}, {name} {image.shape[1]}x{image.shape[0]}): "
                f"pass size= (--size), the side in pixels to resize and crop them to"
            )


def _stack(found: Contents, files: Sequence[tuple[str, int]], names: Sequence[str]) -> ImageSet:
    h, w, _ = found.images[files[0][0]].shape
    images = np.empty((len(files), 3, h, w), dtype=np.uint8)
    for i, (name, _) in enumerate(files):
        images[i] = found.images.pop(name).transpose(2, 0, 1)  # popped: never all held twice
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    return ImageSet(torch.from_numpy(images), labels, names)
