"""From a path, or a name, to image sets: recognises what lies there."""

from __future__ import annotations

import os

from pyedge.data import cifar
from pyedge.data.digits import load_digits
from pyedge.data.folders import read_contents, split_folders
from pyedge.data.imageset import ImageSet
from pyedge.errors import FormatError

Path = str | os.PathLike[str]


def load_folder(path: Path, size: int | None = None) -> ImageSet:
    """Load class folders, <class>/<image>, from a folder or tar archive, as uint8 [n, 3, h, w].

    Classes are the folders' names in alphabetical order. With `size`, shorter sides are resized
    to it and the centre is cut out; without, all images must have one size. Images become RGB.
    Raises FormatError for broken images and archives, empty class folders and images outside of
    them; ValueError for images that differ in size; FileNotFoundError.
    """
    found = read_contents(path, size)
    sets = split_folders(os.fspath(path), found) if found.images else {}
    if set(sets) != {None}:
        raise FormatError(
            f"load_folder: {os.fspath(path)} holds splits or CIFAR-10 batches, wanted class "
            f"folders; load_dataset reads it, or name one split's folder"
        )
    return sets[None]


def load_cifar10(path: Path) -> tuple[ImageSet, ImageSet]:
    """Load CIFAR-10 as (train 50,000, test 10,000), images uint8 [n, 3, 32, 32].

    `path` is the official binary or python archive (cifar-10-binary.tar.gz,
    cifar-10-python.tar.gz), the folder unpacked from it, or a folder or tar archive with
    train/<class>/<image> and test/<class>/<image>. Pickles run nothing. Raises FormatError for
    what is missing, truncated or broken; FileNotFoundError.
    """
    found = read_contents(path, None)
    if found.batches:
        return cifar.read_batches(found.batches)
    sets = split_folders(os.fspath(path), found)
    if "train" not in sets or "test" not in sets or len(sets["train"].classes) != 10:
        raise FormatError(
            f"load_cifar10: {os.fspath(path)} holds neither CIFAR-10's batches nor train/ and "
            f"test/ with its ten class folders"
        )
    return sets["train"], sets["test"]


def load_dataset(
    path: Path,
    *,
    size: int | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Load (train, val, test) from whatever lies at `path`, a folder or a tar archive.

    - "digits": scikit-learn's digits;
    - CIFAR-10's official files (`load_cifar10`);
    - train/ and test/ with class folders, and perhaps val/. Official splits stay untouched; without
      val/, `val_fraction` of each class of train becomes val. With val/ and no test/ (ImageNet's
      habit) val/ is the test set, and val comes out of train;
    - plain class folders: `test_fraction` of each class is test, `val_fraction` of the rest val.

    Splits depend on the seed alone. `size` as in `load_folder`; digits and CIFAR-10's files have
    theirs. Raises as `load_folder`.
    """
    if path == "digits":
        _refuse_size(path, size, 8)
        return load_digits(val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    name = os.fspath(path)
    found = read_contents(path, size)
    if found.batches:
        _refuse_size(name, size, 32)
        train, test = cifar.read_batches(found.batches)
        return (*train.split(val_fraction, seed), test)
    sets: dict[str | None, ImageSet] = split_folders(name, found)
    if None in sets:
        rest, test = sets[None].split(test_fraction, seed)
        return (*rest.split(val_fraction, seed), test)
    held_out = sets.get("test", sets.get("val"))
    if "train" not in sets or held_out is None:
        raise FormatError(
            f"load_dataset: {name} has {', '.join(sorted(map(str, sets)))} only; "
            f"wanted train/ and test/"
        )
    if "test" in sets and "val" in sets:
        return sets["train"], sets["val"], held_out
    return (*sets["train"].split(val_fraction, seed), held_out)


def _refuse_size(name: str, size: int | None, native: int) -> None:
    if size not in (None, native):
        raise ValueError(
            f"load_dataset: the images of {name} are {native}x{native}: size must be {native} "
            f"or left out, got {size!r}"
        )
