"""Memory files: the images that a device keeps, in a zip of graph.json and one .npy array.

Read without trust, as a student's file is: what it says is checked before anything is unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.class_matching import quoted
from pyedge.class_names import storable
from pyedge.npy_archive import Archive, ArraySpec, open_archive, spec_of, write_archive

if TYPE_CHECKING:
    from pyedge.edge.replay_memory import Memory

FORMAT = "pyedge-memory"
VERSION = 1
_WHAT = "a memory of pyedge"
_FIELDS = ("format", "version", "per_class", "choose", "max_bytes", "seed", "classes", "images")


def write_memory(path: str | PathLike[str], memory: Memory) -> None:
    """Write a memory to `path`, atomically. Raises OSError where that fails."""
    images = memory.images
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "per_class": memory.per_class,
        "choose": memory.choose,
        "max_bytes": memory.max_bytes,
        "seed": memory.seed,
        "classes": [
            {"name": name, "images": len(each.images), "seen": each.seen}
            for name, each in memory.kept.items()
        ],
        "images": {"dtype": images.dtype.name, "shape": list(images.shape)},
    }
    write_archive(path, document, {"images": images})


def read_memory(path: str | PathLike[str]) -> Memory:
    """Read a memory that `Memory.save` wrote.

    The file may be from anybody: all it says is checked before memory is taken for it. Raises
    FormatError for a file that is truncated, altered, foreign or of a later version, OSError where
    it cannot be opened.
    """
    from pyedge.edge.replay_memory import Memory, Remembered

    if not isinstance(path, (str, PathLike)):
        raise TypeError(f"read_memory: path must be that of a file, not {type(path).__name__}")
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
        settings = {name: document[name] for name in ("per_class", "choose", "max_bytes", "seed")}
        try:
            empty = Memory(**settings)
        except (ValueError, TypeError) as error:
            archive.fail(str(error))
        classes = _classes(archive, document["classes"])
        images = _images(archive, document["images"], sum(n for n, _ in classes.values()))
    kept, first = {}, 0
    for name, (count, seen) in classes.items():
        kept[name] = Remembered(images[first : first + count], seen)
        first += count
    if any(count > empty.per_class for count, _ in classes.values()):
        archive.fail(f"keeps more than per_class={empty.per_class} images of a class")
    if empty.max_bytes is not None and images.nbytes > empty.max_bytes:
        archive.fail(f"keeps more than max_bytes={empty.max_bytes:,}")
    return Memory.of(kept, **settings)


def _classes(archive: Archive, listed: Any) -> dict[str, tuple[int, int]]:
    """Return how many images of each class there are, and how many it was chosen from."""
    if not isinstance(listed, list):
        archive.fail("classes must be a list")
    found: dict[str, tuple[int, int]] = {}
    for place, each in enumerate(listed):
        if not isinstance(each, Mapping) or each.keys() != {"name", "images", "seen"}:
            archive.fail(f"class {place} must have a name, images and seen")
        reason = storable(each["name"])
        if reason is not None:
            archive.fail(f"class {place}, {quoted(each['name'])}, {reason}")
        count, seen = each["images"], each["seen"]
        if not (type(count) is int and type(seen) is int and 0 < count <= seen < 1 << 53):
            archive.fail(f"class {place} must have from 1 image up to as many as were seen")
        found[each["name"]] = count, seen
    if list(found) != sorted(each["name"] for each in listed):
        archive.fail("classes must differ, and stand in the order of their names")
    return found


def _images(archive: Archive, described: Any, count: int) -> NDArray[Any]:
    spec = spec_of(described)
    if spec is None or spec.dtype not in ("uint8", "float32") or len(spec.shape) != 4:
        archive.fail("images must be uint8 or float32 [n, c, h, w]")
    if spec.shape[0] != count or (count and min(spec.shape) < 1):
        archive.fail(f"images must be {count}, as the classes say, not {list(spec.shape)}")
    specs: dict[str, ArraySpec] = {"images": spec}
    archive.check_names(specs)
    images = archive.array("images", spec)
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        archive.fail("images hold NaN or infinity")
    return images
