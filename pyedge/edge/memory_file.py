"""Memory files: the images that a device keeps, in a zip of graph.json and one .npy array.

Like a student's file, it may come from anybody: it is checked before anything is unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import shown
from pyedge.classes.matching import quoted
from pyedge.classes.names import LONGEST, storable
from pyedge.files.npy_archive import Archive, ArraySpec, open_archive, spec_of, write_archive

FORMAT = "pyedge-memory"
VERSION = 1
_WHAT = "a memory of pyedge"
SETTINGS = ("per_class", "choose", "max_bytes", "seed")
_FIELDS = ("format", "version", *SETTINGS, "classes", "images")


@dataclass(frozen=True, eq=False)
class Remembered:
    """A class: images [n, c, h, w], the most important first, chosen from `seen` different ones."""

    images: NDArray[Any]
    seen: int


def write_kept(
    path: str | PathLike[str],
    settings: Mapping[str, Any],
    kept: Mapping[str, Remembered],
    images: NDArray[Any],
) -> None:
    """Write a memory's settings and what it keeps to `path`, atomically; `images`: all its images.

    Raises OSError if that fails.
    """
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        **settings,
        "classes": [
            {"name": name, "images": len(each.images), "seen": each.seen}
            for name, each in kept.items()
        ],
        "images": {"dtype": images.dtype.name, "shape": list(images.shape)},
    }
    write_archive(path, document, {"images": images})


def read_kept(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Remembered]]:
    """Read settings, which may be any plain values, and what a memory keeps.

    Raises FormatError for a file that is truncated, altered, foreign or of a later version, OSError
    if it cannot be opened.
    """
    with open_archive(path, _WHAT) as archive:
        document = archive.document()
        if document.get("format") != FORMAT:
            archive.fail(f"not {_WHAT}")
        version = document.get("version")
        if type(version) is not int or version != VERSION:
            archive.fail(f"a memory of version {version!r}; this pyedge reads version {VERSION}")
        for name in sorted(document.keys() ^ set(_FIELDS)):
            archive.fail(
                f"graph.json {'lacks' if name in _FIELDS else 'holds an unknown'} {name!r}"
            )
        settings = {name: document[name] for name in SETTINGS}
        classes = _classes(archive, document["classes"])
        images = _images(archive, document["images"], sum(n for n, _ in classes.values()))
    kept, first = {}, 0
    for name, (count, seen) in classes.items():
        kept[name] = Remembered(images[first : first + count], seen)
        first += count
    return settings, kept


def _classes(archive: Archive, listed: Any) -> dict[str, tuple[int, int]]:
    """Return how many images of each class there are, and from how many they were chosen."""
    if not isinstance(listed, list):
        archive.fail(f"classes: wanted a list, got {shown(listed)}")
    found: dict[str, tuple[int, int]] = {}
    for place, each in enumerate(listed):
        if not isinstance(each, Mapping) or each.keys() != {"name", "images", "seen"}:
            archive.fail(f"class {place}: wanted a name, images and seen, got {shown(each)}")
        reason = storable(each["name"])
        if reason is not None:
            archive.fail(
                f"class {place}: wanted a name of 1 to {LONGEST} characters, got "
                f"{quoted(each['name'])}, which {reason}"
            )
        count, seen = each["images"], each["seen"]
        if not (type(count) is int and type(seen) is int and 0 < count <= seen < 1 << 53):
            archive.fail(
                f"class {place}: wanted from 1 image up to as many as were seen, got "
                f"{shown(count)} of {shown(seen)}"
            )
        found[each["name"]] = count, seen
    if list(found) != sorted(each["name"] for each in listed):
        archive.fail(
            f"classes: wanted different names in their order, got "
            f"{shown([each['name'] for each in listed])}"
        )
    return found


def _images(archive: Archive, described: Any, count: int) -> NDArray[Any]:
    spec = spec_of(described)
    if spec is None or spec.dtype not in ("uint8", "float32") or len(spec.shape) != 4:
        archive.fail(f"images: wanted uint8 or float32 [n, c, h, w], got {shown(described)}")
    if spec.shape[0] != count or (count and min(spec.shape) < 1):
        archive.fail(f"images: wanted {count}, as the classes say, got {list(spec.shape)}")
    specs: dict[str, ArraySpec] = {"images": spec}
    archive.check_names(specs)
    images = archive.array("images", spec)
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        archive.fail("images hold NaN or infinity")
    return images
