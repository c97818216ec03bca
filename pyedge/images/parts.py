"""The parts of a data set, as training split it: found again where there is no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import plain_number, whole
from pyedge.errors import FormatError
from pyedge.images.class_folders import arrange
from pyedge.images.entries import Entry
from pyedge.images.folder import Read, check_all_there, decode_entries, entries_of
from pyedge.images.layout import Shape
from pyedge.images.left_out import LeftOut, shown
from pyedge.images.located import path_text
from pyedge.images.resize import Resize
from pyedge.images.split_names import splits_word

PARTS = ("train", "val", "test")
# of each class, where folders do not say it: test of all images, val of the others
TEST_FRACTION, VAL_FRACTION = 0.2, 0.1

Rows = NDArray[np.int64]


def read_part(
    path: str | os.PathLike[str],
    input_shape: Shape,
    part: str,
    *,
    seed: int = 0,
    splits: bool | None = None,
    resize: Resize | None = None,
) -> Read:
    """Read a part of a folder or an archive as `read_folder` does: "train", "val", "test", "all".

    The images are those that `pyedge.data.load_dataset` puts into this part with the same `seed`;
    `splits` as there, resize as in `read_folder`. Raises as these do, and FormatError where a part
    has no images.
    """
    found = part_files(path, part, splits=splits)
    kept, array = decode_entries(
        found.path, found.entries, found.files, input_shape, found.left_out, resize
    )
    ids, rows = found.part_of(kept, seed)
    if rows is None:
        return Read(array, ids, found.classes)
    return Read(array[rows], ids[rows], found.classes)


@dataclass(frozen=True)
class PartFiles:
    """The image files that hold a part, before they are read.

    entries: all files by name. labels: of each of those that hold the part, in order. rest: how
    these are to be split: with a test set, without; None: not at all. left_out: what was not
    chosen.
    """

    path: str
    part: str
    entries: dict[str, Entry]
    labels: dict[str, int]
    rest: bool | None
    classes: tuple[str, ...]
    left_out: LeftOut

    @property
    def files(self) -> list[str]:
        """Their names, in order."""
        return list(self.labels)

    def part_of(self, kept: Sequence[str], seed: int) -> tuple[Rows, Rows | None]:
        """Return the labels of those that are images, and the places of the part (None: all).

        Warns of what is left out. Raises FormatError for a class or a part without images.
        """
        ids = np.array([self.labels[file] for file in kept], dtype=np.int64)
        if self.rest is None:
            self.left_out.warn(self.path, len(kept))
            return ids, None
        check_all_there(self.path, ids, self.classes, self.left_out)
        self.left_out.warn(self.path, len(kept))
        rows = _rows(ids, self.part, seed, with_test=self.rest)
        if not len(rows):
            raise FormatError(
                f"{self.path}: its classes have too few images for a part of them, {self.part!r}"
            )
        return ids, rows


def part_files(path: str | os.PathLike[str], part: str, *, splits: bool | None) -> PartFiles:
    """List what `read_part` would read. Raises as it does, but for what is in the files."""
    name = path_text(path)
    left_out = LeftOut()
    entries, folders = entries_of(path, left_out)
    word = splits_word(splits, "EdgeImages")
    arranged = arrange(name, entries, folders, left_out, splits=word)
    files, rest = _files(name, arranged.files, arranged.folders, part)
    return PartFiles(name, part, entries, dict(files), rest, arranged.classes, left_out)


Files = Sequence[tuple[str, int]]  # with their labels


def _files(
    path: str, files: Mapping[str | None, Files], folders: Mapping[str, str], part: str
) -> tuple[Files, bool | None]:
    """Return the files that hold a part, and how they are to be split: with a test set, without.

    None: not at all. Raises FormatError for folders that are not all there.
    """
    if None in files:
        return files[None], None if part == "all" else True
    held_out = "test" if "test" in files else "val"
    if "train" not in files or held_out not in files:
        there = ", ".join(f"{shown(folder)}/" for folder in folders.values())
        raise FormatError(
            f"{path}: wanted train/ and test/, or class folders, got {there} only; that folder, "
            "named in place of the one around it, has class folders"
        )
    if part == "all":
        return [each for split in files.values() for each in split], None
    if part == "test":
        return files[held_out], None
    if held_out == "test" and "val" in files:
        return files[part], None
    return files["train"], False


def _rows(labels: Rows, part: str, seed: int, *, with_test: bool) -> Rows:
    """Return the places of a part among all images, or among those beside a test set."""
    rest: Rows = np.arange(len(labels), dtype=np.int64)
    if with_test:
        rest, test = stratified_split(labels, TEST_FRACTION, seed)
        if part == "test":
            return test
    train, val = stratified_split(labels[rest], VAL_FRACTION, seed)
    return rest[val if part == "val" else train]


def stratified_split(labels: NDArray[np.int64], fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split positions 0..n-1 by label; see `ImageSet.split`. Both parts come in rising order."""
    share = plain_number(fraction)
    if isinstance(share, bool) or not isinstance(share, (int, float)):
        raise TypeError(f"split: fraction: wanted a number in [0, 1), got {fraction!r}")
    if not 0 <= share < 1:
        raise ValueError(f"split: fraction: wanted a number in [0, 1), got {fraction!r}")
    fraction, seed = share, whole(seed, "split: seed", 0)
    random = np.random.default_rng(seed)
    second = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        # round half up: Python's round(2.5) is 2, and would make val smaller than asked
        count = min(max(int(fraction * len(members) + 0.5), 1), len(members) - 1)
        second.append(members[: count if fraction > 0 else 0])
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.concatenate([*second, np.empty(0, dtype=np.int64)])] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
