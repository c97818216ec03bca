"""Files of images that a device gives to its cloud to train on: pixels, classes, and the consent.

A zip of graph.json and .npy arrays; docs/format.md describes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import shown
from pyedge.classes.names import LONGEST, storable
from pyedge.errors import FormatError
from pyedge.files.npy_archive import Archive, ArraySpec, open_archive, write_archive

FORMAT = "pyedge-images"
VERSION = 1
_FIELDS = ("format", "version", "consent", "classes", "shape")
_MOST_CLASSES = 1 << 16
_MOST_BYTES = 1 << 34


class GivenImages(NamedTuple):
    """Images uint8 [n, c, h, w], and labels int64 [n]: places in classes."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def write_given(
    path: str | PathLike[str],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> None:
    """Write images with the consent to train on them, atomically."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "consent": True,
        "classes": list(classes),
        "shape": list(images.shape),
    }
    write_archive(path, document, {"images": images, "labels": labels})


def read_given(path: str | PathLike[str]) -> GivenImages:
    """Read what `write_given` wrote.

    The file may come from anybody: it is checked before memory is taken for its contents. Raises
    FormatError for a file that is damaged, foreign, of a later version, does not fit together, or
    does not say that its owner consents.
    """
    with open_archive(path, "a file of given images") as archive:
        document = archive.document()
        specs = _specs(archive, document)
        archive.check_names(specs)
        try:
            found = GivenImages(
                archive.array("images", specs["images"]),
                archive.array("labels", specs["labels"]),
                tuple(document["classes"]),
            )
        except FormatError:
            raise
        except (ValueError, OverflowError) as error:
            raise FormatError(f"{path}: {error}") from error
        used = np.unique(found.labels)
        if not np.array_equal(used, np.arange(len(found.classes))):
            archive.fail(
                f"labels: wanted images of each of {len(found.classes)} classes, got others"
            )
        return found


def _specs(archive: Archive, document: dict[str, Any]) -> dict[str, ArraySpec]:
    if document.get("format") != FORMAT:
        archive.fail("not a file of given images")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        archive.fail(
            f"a file of given images of version {version!r}; this pyedge reads version {VERSION}"
        )
    for key in sorted({*_FIELDS} ^ document.keys()):
        archive.fail(f"graph.json {'lacks' if key in _FIELDS else 'holds an unknown'} {key!r}")
    if document["consent"] is not True:
        archive.fail(f"consent: wanted true, got {shown(document['consent'])}")
    classes, shape = document["classes"], document["shape"]
    good = isinstance(classes, list) and 1 <= len(classes) <= _MOST_CLASSES
    if not good or any(storable(each) is not None for each in classes):
        archive.fail(f"classes: wanted names of 1 to {LONGEST} characters, got {shown(classes)}")
    if len(set(classes)) < len(classes):
        archive.fail(f"classes: wanted each name once, got {shown(classes)}")
    if (
        not isinstance(shape, list)
        or len(shape) != 4
        or not all(type(n) is int and 1 <= n <= 1 << 31 for n in shape)
        or math.prod(shape) > _MOST_BYTES
    ):
        archive.fail(f"shape: wanted four whole numbers, got {shown(shape)}")
    return {
        "images": ArraySpec("uint8", tuple(shape)),
        "labels": ArraySpec("int64", (shape[0],)),
    }
