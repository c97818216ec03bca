"""Class folders, with or without train, val and test above them, in a folder or an archive."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pyedge.classes.matching import warn_of_text_order
from pyedge.data import cifar
from pyedge.data.imageset import ImageSet
from pyedge.errors import FormatError
from pyedge.images.class_folders import Arrangement, LayoutError, arrange
from pyedge.images.decode import Side, decode_all
from pyedge.images.entries import Entry
from pyedge.images.left_out import LeftOut, shown
from pyedge.images.located import path_text
from pyedge.images.resize import Resize
from pyedge.images.sources import walk


@dataclass
class Contents:
    """What one pass over a folder or archive found."""

    images: dict[str, np.ndarray] = field(default_factory=dict)  # by relative name, uint8 [h, w, 3]
    batches: dict[str, bytes] = field(default_factory=dict)  # CIFAR-10's official files
    folders: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)

    def warn(self, path: str, sets: Collection[ImageSet]) -> None:
        """Warn of everything that is in none of the resulting `sets`."""
        self.left_out.warn(path, sum(map(len, sets)))


def read_contents(path: str | os.PathLike[str], size: Side) -> Contents:
    """Read every image and every CIFAR-10 batch below a path; archives take one pass."""
    if not (size is None or isinstance(size, Resize)) and (not isinstance(size, int) or size < 1):
        raise ValueError(f"size: wanted a positive number of pixels, got {size!r}")
    found = Contents()

    def images() -> Iterator[Entry]:
        for entry in walk(path, cifar.is_batch, found.left_out):
            if entry.read is None:
                found.folders.append(entry.name)
            elif cifar.is_batch(entry.name.rpartition("/")[2]):
                found.batches[entry.name] = entry.read()
            else:
                yield entry

    # Pillow is asked for by the first image, so CIFAR's batches are read without it.
    source = images()
    first = next(source, None)
    if first is not None:
        chained = _chain(first, source)
        found.images.update(decode_all(chained, size, left_out=found.left_out))
    if not found.images and not found.batches:
        told = f"; left out: {found.left_out.told()}" if found.left_out else ""
        raise FormatError(
            f"{path_text(path)}: no images (.jpg, .png, ...) and no CIFAR-10 batches in it{told}"
        )
    return found


def _chain(first: Entry, rest: Iterable[Entry]) -> Iterator[Entry]:
    yield first
    yield from rest


def split_folders(
    path: str, found: Contents, *, splits: bool | None = None, only_classes: bool = False
) -> tuple[dict[str | None, ImageSet], Mapping[str, str]]:
    """Arrange images by split and class: {"train": ..., "test": ...}, {None: ...} without splits.

    Also returns the names of the splits' folders. Raises FormatError as
    `pyedge.images.class_folders.arrange`, which explains `splits` and `only_classes`, ValueError
    for images that differ in size.
    """
    if os.path.isfile(path) and list(found.images) == [os.path.basename(path)]:
        raise LayoutError(f"{path}: one image; wanted a folder or an archive of class folders")
    arranged = arrange(
        *(path, found.images, found.folders, found.left_out),
        splits=splits,
        only_classes=only_classes,
    )
    _check_one_size(path, found, arranged)
    warn_of_text_order(path, arranged.classes)
    sets = {
        split: _stack(found, files, arranged.classes) for split, files in arranged.files.items()
    }
    return sets, arranged.folders


def every_image(path: str, found: Contents) -> ImageSet:
    """Return all images, wherever they are, in the order of their names, as one class."""
    files = [(name, 0) for name in sorted(found.images)]
    one = Arrangement(("unlabelled",), {None: files})
    _check_one_size(path, found, one)
    return _stack(found, files, one.classes)


def _check_one_size(path: str, found: Contents, arranged: Arrangement) -> None:
    names = sorted(name for files in arranged.files.values() for name, _ in files)
    first = found.images[names[0]]
    for name in names:
        image = found.images[name]
        if image.shape != first.shape:
            raise ValueError(
                f"{path}: images differ in size ({shown(names[0])} is "
                f"{first.shape[1]}x{first.shape[0]}, {shown(name)} "
                f"{image.shape[1]}x{image.shape[0]}): "
                f"pass size= (--size), the side in pixels to resize and crop them to"
            )


def _stack(found: Contents, files: Sequence[tuple[str, int]], names: Sequence[str]) -> ImageSet:
    h, w, _ = found.images[files[0][0]].shape
    images = np.empty((len(files), 3, h, w), dtype=np.uint8)
    for i, (name, _) in enumerate(files):
        images[i] = found.images.pop(name).transpose(2, 0, 1)  # popped: never all held twice
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    return ImageSet(torch.from_numpy(images), labels, names)
