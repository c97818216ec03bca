"""From a path, or a name, to image sets: recognises what is there."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch

from pyedge.data import cifar
from pyedge.data.digits import load_digits
from pyedge.data.folders import Contents, every_image, read_contents, split_folders
from pyedge.data.imageset import ImageSet
from pyedge.errors import FormatError
from pyedge.images.decode import Side
from pyedge.images.left_out import LeftOut, shown
from pyedge.images.located import path_text
from pyedge.images.parts import TEST_FRACTION, VAL_FRACTION
from pyedge.images.preprocessing import Preprocessing, PreprocessingLike
from pyedge.images.resize import Resize
from pyedge.images.split_names import splits_word
from pyedge.warning import warn

Path = str | os.PathLike[str]


def load_folder(
    path: Path,
    size: int | None = None,
    *,
    splits: bool | None = None,
    preprocessing: PreprocessingLike | None = None,
) -> ImageSet:
    """Load class folders, <class>/<image>, from a folder or archive, as uint8 [n, 3, h, w].

    Classes are the folders' names in alphabetical order. With `size`, shorter sides are resized
    to it and the centre is cut out; without, all images must have one size. Images become RGB.
    splits=False takes all folders as classes, even if they are named like splits. preprocessing:
    resizes as it says instead, and may make the images grey, [n, 1, h, w].

    Warns once of files that are left out, with number and reason. Raises FormatError for broken
    images and archives, empty class folders and images outside them; ValueError for images that
    differ in size; FileNotFoundError.
    """
    splits = splits_word(splits, "load_folder")
    side, colour = _side(size, preprocessing, "load_folder")
    found = read_contents(path, side)
    sets: dict[str | None, ImageSet] = {}
    if found.images:
        sets, _ = split_folders(path_text(path), found, splits=splits, only_classes=True)
    if set(sets) != {None}:
        raise FormatError(
            f"load_folder: {path_text(path)} holds splits or CIFAR-10 batches, wanted class "
            f"folders; load_dataset reads it, or name one split's folder"
        )
    found.warn(path_text(path), sets.values())
    return _seen(sets[None], None, colour)


def load_cifar10(path: Path) -> tuple[ImageSet, ImageSet]:
    """Load CIFAR-10 as (train 50,000, test 10,000), images uint8 [n, 3, 32, 32].

    `path` is the official binary or python archive (cifar-10-binary.tar.gz,
    cifar-10-python.tar.gz), the folder unpacked from it, or a folder or tar archive with
    train/<class>/<image> and test/<class>/<image>. Pickles cannot run code. Raises FormatError for
    anything missing, truncated or broken; FileNotFoundError.
    """
    found = read_contents(path, None)
    if found.batches:
        return _read_batches(path_text(path), found)
    sets, _ = split_folders(path_text(path), found)
    if "train" not in sets or "test" not in sets or len(sets["train"].classes) != 10:
        raise FormatError(
            f"load_cifar10: {path_text(path)} holds neither CIFAR-10's batches nor train/ and "
            f"test/ with its ten class folders"
        )
    found.warn(path_text(path), sets.values())
    return sets["train"], sets["test"]


class Parts(NamedTuple):
    """A data set in three parts, and a line on where they come from if that is not obvious."""

    train: ImageSet
    val: ImageSet
    test: ImageSet
    told: str = ""
    fixed: bool = False  # whether the images have a size of their own, as digits have


def load_dataset(
    path: Path,
    *,
    size: int | None = None,
    val_fraction: float = VAL_FRACTION,
    test_fraction: float = TEST_FRACTION,
    seed: int = 0,
    splits: bool | None = None,
    preprocessing: PreprocessingLike | None = None,
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Load (train, val, test) from whatever lies at `path`, a folder or a .zip or tar archive.

    - "digits": scikit-learn's digits;
    - CIFAR-10's official files (`load_cifar10`);
    - train/ and test/ with class folders, and perhaps val/, or similar names: training_set,
      seg_test, Validation. Official splits are kept; without val/, `val_fraction` of each class of
      train becomes val. With val/ and no test/ (as in ImageNet) val/ is the test set, and val is
      taken out of train;
    - plain class folders: `test_fraction` of each class is test, `val_fraction` of the rest val.

    Splits depend only on the seed. `size` and preprocessing as in `load_folder`; digits and
    CIFAR-10's files have a size of their own, which only a preprocessing changes. `splits`: None
    looks for folders named like splits, and raises FormatError if it is unclear what they are;
    False takes all folders as classes, whatever their names; True takes those named like splits as
    splits, and leaves out the folders next to them. Warns of what is left out, and of a test set
    that lacks classes. Raises as `load_folder`.
    """
    side, colour = _side(size, preprocessing, "load_dataset")
    return load_parts(
        *(path, side, seed, splits, colour),
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )[:3]


def load_parts(
    path: Path,
    size: Side,
    seed: int,
    splits: bool | None,
    colour: str = "",
    *,
    val_fraction: float = VAL_FRACTION,
    test_fraction: float = TEST_FRACTION,
    keep_own: bool = False,
) -> Parts:
    """Load as `load_dataset`, and tell where the parts come from.

    colour: a Preprocessing's. keep_own: images with a size of their own are not resized.
    """
    parts = _parts(path, size, seed, splits, val_fraction, test_fraction)
    # files of images have been resized while they were read
    later = size if isinstance(size, Resize) and parts.fixed and not keep_own else None
    return parts._replace(
        train=_seen(parts.train, later, colour),
        val=_seen(parts.val, later, colour),
        test=_seen(parts.test, later, colour),
    )


def _parts(
    path: Path,
    size: Side,
    seed: int,
    splits: bool | None,
    val_fraction: float,
    test_fraction: float,
) -> Parts:
    name = path_text(path)
    splits = splits_word(splits, "load_dataset")
    if name == "digits":
        _refuse_size(name, size, 8)
        return Parts(
            *load_digits(val_fraction=val_fraction, test_fraction=test_fraction, seed=seed),
            fixed=True,
        )
    found = read_contents(path, size)
    if found.batches:
        _refuse_size(name, size, 32)
        train, test = _read_batches(name, found)
        return Parts(*train.split(val_fraction, seed), test, fixed=True)
    sets, folders = split_folders(name, found, splits=splits)
    if None in sets:
        found.warn(name, sets.values())
        rest, test = sets[None].split(test_fraction, seed)
        return Parts(*rest.split(val_fraction, seed), test)
    told = f"; left out: {found.left_out.told()}" if found.left_out else ""
    held_out = "test" if "test" in sets else "val"
    if "train" not in sets or held_out not in sets:
        raise FormatError(
            f"load_dataset: {name} has {', '.join(sorted(map(str, sets)))} only; "
            f"wanted train/ and test/. {_one_part(name, folders.values(), told)}{told}"
        )
    found.warn(name, sets.values())
    _warn_of_missing(name, sets["train"], sets[held_out], folders[held_out])
    if "test" in sets and "val" in sets:
        return Parts(sets["train"], sets["val"], sets["test"], _told(folders, ()))
    train, val = sets["train"].split(val_fraction, seed)
    return Parts(train, val, sets[held_out], _told(folders, ("val",)))


def load_unlabelled(path: Path, size: Side, colour: str = "") -> ImageSet:
    """Load every image below `path` in the order of their names; all labels are 0.

    Raises as `load_folder`, but images may lie in any folders.
    """
    found = read_contents(path, size)
    if not found.images:
        raise FormatError(f"{path_text(path)}: CIFAR-10 batches, wanted images")
    images = every_image(path_text(path), found)
    found.warn(path_text(path), [images])
    return _seen(images, None, colour)


def _side(size: int | None, given: PreprocessingLike | None, where: str) -> tuple[Side, str]:
    """Return what resizes the images, and their colour. ValueError for two sizes."""
    if given is None:
        return size, ""
    made = Preprocessing.of(given, None, f"{where}: preprocessing")
    if made.resize is not None and size not in (None, made.resize.size):
        raise ValueError(
            f"{where}: size: wanted {made.resize.size}, as preprocessing says, or none, got {size}"
        )
    return made.resize or size, made.colour


def _seen(images: ImageSet, resize: Resize | None, colour: str) -> ImageSet:
    """Return images of a data set as a network sees them."""
    if resize is None and not colour:
        return images
    pixels = images.images.numpy()
    pixels = pixels if resize is None else resize.arrays(pixels)
    pixels = Preprocessing(colour=colour).fit(pixels)
    return ImageSet(torch.from_numpy(pixels), images.labels, images.classes)


def _read_batches(path: str, found: Contents) -> tuple[ImageSet, ImageSet]:
    """Read CIFAR-10's files, and warn of images next to them, but not of its own other files."""
    beside = LeftOut()
    for image in sorted(found.images):
        beside.add(image, "beside the batches of CIFAR-10")
    beside.warn(path, len(found.batches))
    return cifar.read_batches(found.batches)


def _one_part(path: str, folders: Collection[str], told: str) -> str:
    """Say how to have one part split, if others are missing."""
    if len(folders) == 1 and not told:
        return "splits=False (--splits no) splits it"
    named = ", ".join(shown(name) for name in sorted(folders))
    return f"To have one part split, name its folder, {named}, in place of {path}"


def _told(folders: Mapping[str, str], cut: Sequence[str]) -> str:
    """Say which folders the parts are, if they have other names than ours."""
    if all(folder.lower() in (split, "valid") for split, folder in folders.items()) and (
        "test" in folders
    ):
        return ""
    parts = [
        f"{split if split != 'val' or 'test' in folders else 'test'} is {folder}/"
        for split, folder in folders.items()
    ]
    return ", ".join(parts) + (", validation comes out of train" if cut else "")


def _warn_of_missing(path: str, train: ImageSet, test: ImageSet, folder: str) -> None:
    lacking = [name for name, n in zip(train.classes, test.counts, strict=True) if not n]
    if lacking:
        warn(
            f"{path}: {folder}/ has no images of {', '.join(lacking[:8])}"
            f"{', ...' if len(lacking) > 8 else ''} ({len(lacking)} of {len(train.classes)} "
            f"classes): a test tells nothing about them"
        )


def _refuse_size(name: str, size: Side, native: int) -> None:
    if size not in (None, native) and not isinstance(size, Resize):
        raise ValueError(
            f"load_dataset: size: wanted {native} or none, as the images of {name} are "
            f"{native}x{native}, got {size!r}"
        )
