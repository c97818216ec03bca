"""Class folders, with or without train, val and test above them, in a folder or an archive."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pyedge.data import cifar
from pyedge.data.decode import decode_all, is_image
from pyedge.data.imageset import ImageSet
from pyedge.data.sources import Entry, walk
from pyedge.errors import FormatError

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def _split_of(folder: str) -> str | None:
    return _SPLITS.get(folder.lower())


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

    Folders that merely wrap all others (archives often have one) are skipped. The class is the
    folder below the split; folders below the class do not matter. Raises FormatError for images
    outside class folders, for empty class folders, for classes that train does not have, and for
    other folders beside train/.
    """
    depth = _wrapping([name.split("/") for name in found.images])
    top = {name.split("/")[depth] for name in found.images}
    splits = any(map(_split_of, top))
    others = sorted(t for t in top if splits and not _split_of(t))
    if others and any(_split_of(t) == "train" for t in top):
        raise FormatError(
            f"{path}: {', '.join(others)} beside train/; wanted train/, test/ and perhaps val/ only"
        )
    splits = splits and not others  # without train/, a class may well be called "test"
    classes_at = depth + 1 if splits else depth
    members: dict[str | None, dict[str, list[str]]] = {}
    for name in sorted(found.images):
        parts = name.split("/")
        if len(parts) <= classes_at + 1:
            raise FormatError(
                f"{path}: {name} lies in no class folder; wanted <class>/<image> "
                f"or train/<class>/<image> and test/<class>/<image>"
            )
        split = _split_of(parts[depth]) if splits else None
        members.setdefault(split, {}).setdefault(parts[classes_at], []).append(name)
    _check_no_empty(path, found, members, depth, classes_at, splits)
    names = sorted(members.get("train", next(iter(members.values()))))
    for split, classes in members.items():
        extra = sorted(set(classes) - set(names))
        if extra:
            raise FormatError(f"{path}: {split} has classes that train lacks: {', '.join(extra)}")
    _check_one_size(path, found)
    return {split: _stack(found, classes, names) for split, classes in members.items()}


def _wrapping(names: Sequence[list[str]]) -> int:
    """Count the top folders that hold everything in one folder further down."""
    depth = 0
    while (
        all(len(parts) > depth + 2 for parts in names)
        and len({parts[depth] for parts in names}) == 1
        and not _split_of(names[0][depth])
    ):
        depth += 1
    return depth


def _check_no_empty(
    path: str,
    found: Contents,
    members: dict[str | None, dict[str, list[str]]],
    depth: int,
    classes_at: int,
    splits: bool,
) -> None:
    wrapper = next(iter(found.images)).split("/")[:depth]
    for folder in found.folders:
        parts = folder.split("/")
        if len(parts) != classes_at + 1 or parts[:depth] != wrapper:
            continue
        split = _split_of(parts[depth]) if splits else None
        if parts[-1] not in members.get(split, {}):
            raise FormatError(f"{path}: the class folder {folder} holds no images")


def _check_one_size(path: str, found: Contents) -> None:
    first_name, first = next(iter(found.images.items()))
    for name, image in found.images.items():
        if image.shape != first.shape:
            raise ValueError(
                f"{path}: images differ in size ({first_name} is "
                f"{first.shape[1]}x{first.shape[0]}, {name} {image.shape[1]}x{image.shape[0]}): "
                f"pass size= (--size), the side in pixels to resize and crop them to"
            )


def _stack(found: Contents, classes: dict[str, list[str]], names: Sequence[str]) -> ImageSet:
    files = [(name, label) for label, c in enumerate(names) for name in classes.get(c, ())]
    h, w, _ = found.images[files[0][0]].shape
    images = np.empty((len(files), 3, h, w), dtype=np.uint8)
    for i, (name, _) in enumerate(files):
        images[i] = found.images.pop(name).transpose(2, 0, 1)  # popped: never all held twice
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    return ImageSet(torch.from_numpy(images), labels, names)
