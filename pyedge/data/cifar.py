"""CIFAR-10's official files: batches of 10,000 images, binary or python (pickled)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch

from pyedge.arguments import shown
from pyedge.data.imageset import ImageSet
from pyedge.data.pickled import load_dict
from pyedge.errors import FormatError

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
RECORDS = 10_000
_PIXELS = 3 * 32 * 32
_BATCH = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")
_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))


def is_batch(name: str) -> bool:
    """Tell by its name whether a file is one of CIFAR-10's six batches."""
    return _BATCH.fullmatch(name) is not None


def read_batches(files: Mapping[str, bytes]) -> tuple[ImageSet, ImageSet]:
    """Read the six batches, given as {name: content}, into (train 50,000, test 10,000).

    Raises FormatError for a batch that is missing, truncated, broken, or has labels outside 0..9.
    """
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, data in sorted(files.items()):
        stem = name.rsplit("/", 1)[-1].removesuffix(".bin")
        if stem in batches:
            raise FormatError(f"{name}: a second {stem}; keep one of the two versions of CIFAR-10")
        reader = _read_binary if name.endswith(".bin") else _read_pickled
        images, labels = reader(name, data)
        if labels.max(initial=0) > 9:
            raise FormatError(f"{name}: labels: wanted 0..9, got {labels.max()}")
        batches[stem] = images, labels
    missing = [stem for stem in (*_TRAIN, "test_batch") if stem not in batches]
    if missing:
        raise FormatError(f"CIFAR-10 lacks {', '.join(missing)} (found {', '.join(batches)})")
    return _join(batches, _TRAIN), _join(batches, ("test_batch",))


def _join(batches: Mapping[str, tuple[np.ndarray, np.ndarray]], stems: tuple[str, ...]) -> ImageSet:
    images = np.concatenate([batches[stem][0] for stem in stems]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([batches[stem][1] for stem in stems]).astype(np.int64)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), CLASSES)


def _read_binary(name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Read <1 byte label><3072 bytes: red, green, blue plane> RECORDS times."""
    wanted = RECORDS * (1 + _PIXELS)
    if len(data) != wanted:
        raise FormatError(
            f"{name}: truncated or not a CIFAR-10 batch: wanted {wanted} bytes "
            f"({RECORDS} records of {1 + _PIXELS}), got {len(data)}"
        )
    records = np.frombuffer(data, dtype=np.uint8).reshape(RECORDS, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


def _read_pickled(name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    batch = load_dict(name, data)
    images, labels = batch.get("data"), batch.get("labels")
    if not isinstance(images, np.ndarray) or images.shape != (RECORDS, _PIXELS):
        raise FormatError(f"{name}: wanted 'data' to be a uint8 array [{RECORDS}, {_PIXELS}]")
    if not isinstance(labels, list) or len(labels) != RECORDS:
        raise FormatError(f"{name}: wanted 'labels' to be a list of {RECORDS} numbers")
    for label in labels:
        if type(label) is not int or not 0 <= label <= 9:
            raise FormatError(f"{name}: labels: wanted whole numbers in 0..9, got {shown(label)}")
    return images, np.array(labels, dtype=np.uint8)
