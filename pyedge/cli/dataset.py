"""The images of a command: loaded, split, and with the class ids of the network they go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pyedge.classes.matching import absent, listing, nearly, places
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError, existing
from pyedge.cloud.network_file import NetworkInfo
from pyedge.data import Augment, BatchLoader, ImageSet
from pyedge.data.load import load_parts, load_unlabelled
from pyedge.images.decode import Side
from pyedge.images.folder_layout import LooseError
from pyedge.images.preprocessing import Preprocessing

_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Data:
    """Images for training, validation and test; the latter two may be None."""

    path: str
    train: ImageSet
    val: ImageSet | None
    test: ImageSet | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        c, h, w = self.train.images.shape[1:]
        return c, h, w

    def counts(self) -> dict[str, int]:
        """The number of images in each part."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: 0 if part is None else len(part) for name, part in parts.items()}


def load(
    console: Console,
    path: str,
    size: Side,
    split_seed: int,
    splits: bool | None = None,
    colour: str = "",
    *,
    keep_own: bool = False,
) -> Data:
    """Load DATA and report what was found.

    `splits`: as in `load_dataset`; colour, keep_own: as in `load_parts`.
    """
    if path != "digits":
        existing(path, "digits")
    train, val, test, told, _ = load_parts(
        path, size, split_seed, splits, colour, keep_own=keep_own
    )
    data = Data(path, train, val if len(val) else None, test if len(test) else None)
    counts, shape = data.counts(), "x".join(map(str, data.shape))
    console.note(
        f"{path}: {counts['train']} training, {counts['val']} validation and {counts['test']} "
        f"test images of {shape}, {class_list(train.classes)}{f' ({told})' if told else ''}"
    )
    return data


def load_for(
    console: Console,
    path: str,
    info: NetworkInfo,
    *,
    labels: bool = True,
    of: str = "the network",
    splits: bool | None = None,
) -> Data:
    """Load DATA as a network takes it: its image size, its split, its class ids.

    Without `labels`, images in class folders that the network does not know, or in no class folder,
    are unlabelled: all of them are for training, and there is no validation.
    """
    _, h, w = info.input_shape
    size, colour = info.preprocessing.resize or (h if h == w else None), info.preprocessing.colour
    loose = False
    try:
        data = load(console, path, size, info.split_seed, splits, colour)
    except LooseError:
        if labels:
            raise
        data, loose = Data(path, load_unlabelled(path, size, colour), None, None), True
    if data.shape != info.input_shape:
        wanted, found = ("x".join(map(str, shape)) for shape in (info.input_shape, data.shape))
        raise UsageError(f"{path} has images of {found}, {of} takes {wanted}")
    missing = [] if loose else absent(data.train.classes, info.classes)
    if loose or (missing and not labels):
        console.note(f"{path}: taken as unlabelled images, without validation and test")
        return _unlabelled(data, info.classes)
    if missing:
        raise UsageError(
            f"{path} has classes that {of} does not know: {listing(missing)}; it knows "
            f"{class_list(info.classes)}{nearly(missing[0], info.classes)}"
        )
    return Data(
        path,
        renumbered(data.train, info.classes),
        None if data.val is None else renumbered(data.val, info.classes),
        None if data.test is None else renumbered(data.test, info.classes),
    )


def renumbered(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """Return images with a network's class ids, by name: a folder may hold only some classes."""
    ids = torch.tensor(places(images.classes, classes), dtype=torch.int64)
    return ImageSet(images.images, ids[images.labels], classes)


def _unlabelled(data: Data, classes: Sequence[str]) -> Data:
    images = [part.images for part in (data.train, data.val, data.test) if part is not None]
    joined = torch.cat(images)
    return Data(data.path, ImageSet(joined, torch.zeros(len(joined)).long(), classes), None, None)


def class_list(classes: Sequence[str]) -> str:
    """Write "3 classes (cat, dog, mug)"."""
    return f"{len(classes)} class{'' if len(classes) == 1 else 'es'} ({listing(classes)})"


def training_loader(
    images: ImageSet,
    batch_size: int,
    seed: int,
    augmentations: Sequence[str],
    preprocessing: Preprocessing,
) -> BatchLoader:
    """Make the batches of a training run."""
    alone = len(images) > batch_size and len(images) % batch_size == 1
    return BatchLoader(
        images,
        batch_size,
        augment=augment(augmentations, images.images.shape[1], images.images.shape[2]),
        seed=seed,
        drop_last=alone,  # batch norm cannot learn from a batch of one image
        preprocessing=preprocessing,
    )


def evaluation_loader(
    images: ImageSet | None, preprocessing: Preprocessing, batch_size: int = _EVALUATION_BATCH
) -> BatchLoader | None:
    """Make the batches of an evaluation; None without images."""
    if images is None:
        return None
    return BatchLoader(images, batch_size, shuffle=False, preprocessing=preprocessing)


def augment(names: Sequence[str], channels: int, height: int) -> Augment | None:
    """Make the augmentation that --augment names, in the paper's proportions (Sec. 5)."""
    if list(names) == ["none"]:
        return None
    if list(names) == ["auto"]:
        names = ("crop", "flip") if channels == 3 else ("crop",)
    return Augment(
        crop_padding=max(1, height // 8) if "crop" in names else 0,  # 4 of 32
        flip="flip" in names,
        cutout=height // 2 if "cutout" in names else 0,  # 16 of 32
    )
