"""The images of a benchmark: what trains, what choices are made on, what is reported on.

digits: the demo's split. cifar10: the test set's 300 images a class choose and its other 700 are
reported on, because the teacher that is there has seen every training image. imagenet10: a tenth of
the training images chooses. caltech101: 64, 16 and 20 % of each class, of 64 x 64 pixels. The split
does not depend on the seed, so that every seed is asked the same questions.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pyedge.data import ImageSet, load_cifar10, load_dataset

DATA = ("digits", "digits-unseen", "cifar10", "cifar10-unseen", "imagenet10")
ARCHIVES = {
    "cifar10": "cifar10.tar.xz",
    "imagenet10": "imagenet10.tar.xz",
    "caltech101": "caltech101.tar.xz",  # bench.paper's alone
}
DEFAULT_FOLDER = Path("../shared/data")
_CHOICE_FRACTION = 0.3  # of CIFAR-10's test set
_SPLIT_SEED = 0
_CALTECH_SIZE = 64


class Parts(NamedTuple):
    """Disjoint sets of one data set, all ten classes in each."""

    train: ImageSet
    val: ImageSet
    test: ImageSet

    def device(self, per_class: int | None, seed: int) -> ImageSet:
        """Return at most `per_class` training images a class, drawn by the seed: the device's."""
        return at_most(self.train, per_class, seed)


def source(data: str) -> str:
    """Return the data set behind a name: digits of digits-unseen."""
    return data.removesuffix("-unseen")


def load(data: str, archive: Path | None, cache: Path) -> Parts:
    """Load the images of `data`; pixels out of an archive are kept in `cache` for the next time.

    Raises ValueError for a name that is none, FileNotFoundError where the archive is not there.
    """
    name = source(data)
    if data not in DATA and name not in ARCHIVES:
        raise ValueError(f"bench.learning: data must be one of {', '.join(DATA)}, got {data!r}")
    if name == "digits":
        return Parts(*load_dataset("digits"))
    path = archive or DEFAULT_FOLDER / ARCHIVES[name]
    if not path.exists():
        raise FileNotFoundError(f"bench.learning: no {path}; --images says where {name} lies")
    kept = cache / f"images_{name}_{path.stat().st_size}.npz"
    if not kept.exists():
        _write(kept, _read(name, path))
    with np.load(kept) as found:
        classes = [str(each) for each in found["classes"]]
        sets = [
            ImageSet(
                torch.from_numpy(found[f"{part}_images"]),
                torch.from_numpy(found[f"{part}_labels"]),
                classes,
            )
            for part in Parts._fields
        ]
    return Parts(*sets)


def at_most(images: ImageSet, per_class: int | None, seed: int) -> ImageSet:
    """Take `per_class` images of each class (None: all), drawn by the seed, in rising order."""
    if per_class is None:
        return images
    random = np.random.default_rng(seed)
    labels = images.labels.numpy()
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:per_class]
        for label in np.unique(labels)
    ]
    return images.subset(np.sort(np.concatenate(chosen)))


def _read(name: str, path: Path) -> Parts:
    if name == "cifar10":
        train, rest = load_cifar10(path)
        test, val = rest.split(_CHOICE_FRACTION, _SPLIT_SEED)
        return Parts(train, val, test)
    if name == "caltech101":
        return Parts(*load_dataset(path, size=_CALTECH_SIZE, val_fraction=0.2, seed=_SPLIT_SEED))
    return Parts(*load_dataset(path, seed=_SPLIT_SEED))


def _write(path: Path, parts: Parts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, images in parts._asdict().items():
        arrays[f"{part}_images"] = images.images.numpy()
        arrays[f"{part}_labels"] = images.labels.numpy()
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.npz")
    np.savez(unfinished, classes=np.array(parts.train.classes), **arrays)
    unfinished.replace(path)
