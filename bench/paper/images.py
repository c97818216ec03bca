"""The images of a world: those of `bench.learning`, or generated ones for the smoke scale."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from bench.learning.images import ARCHIVES, DEFAULT_FOLDER, Parts, at_most, load, source
from pyedge.data import ImageSet

__all__ = ["DEFAULT_FOLDER", "Parts", "digest", "load_images"]

_SMOKE_PER_CLASS = (40, 20, 20)
_GENERATED = 5, 32  # classes, pixels


def load_images(data: str, folder: Path, cache: Path) -> Parts:
    """Load "generated", a few digits ("digits"), or an archive of `folder`.

    Raises FileNotFoundError, which says where the archive should be.
    """
    if data == "generated":
        return Parts(*(generated(count, seed) for seed, count in enumerate(_SMOKE_PER_CLASS)))
    if data == "digits":
        found = load("digits", None, cache)
        few = zip(found, _SMOKE_PER_CLASS, strict=True)
        return Parts(*(at_most(images, count, 0) for images, count in few))
    return load(data, folder / ARCHIVES[source(data)], cache)


def generated(per_class: int, seed: int) -> ImageSet:
    """Make photographs of nothing: noise with stripes, as many of them as the class's id + 1."""
    classes, size = _GENERATED
    labels = np.repeat(np.arange(classes), per_class)
    random = np.random.default_rng(seed)
    waves = np.sin(2 * np.pi * (labels[:, None] + 1) * np.arange(size) / size)
    pixels = 128 + 60 * waves[:, None, None, :] + random.normal(0, 30, (len(labels), 3, size, size))
    images = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    return ImageSet(images, torch.from_numpy(labels), [f"{i + 1} stripes" for i in range(classes)])


def digest(parts: Parts) -> str:
    """Tell these images and labels from all others, in the parts that they are in."""
    found = hashlib.sha256()
    for each in parts:
        found.update(each.images.numpy().tobytes())
        found.update(each.labels.numpy().tobytes())
    return found.hexdigest()[:16]
