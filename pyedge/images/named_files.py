"""Images given by paths: a list of image files, or one file of an array."""

from __future__ import annotations

import io
import itertools
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.errors import FormatError
from pyedge.images import file_kinds
from pyedge.images.decode import decode_all
from pyedge.images.entries import Entry
from pyedge.images.folder import fitted, side_of
from pyedge.images.labels import ids_or_names
from pyedge.images.layout import Shape
from pyedge.images.located import located
from pyedge.images.resize import Resize
from pyedge.images.sources import single


class Paths(NamedTuple):
    """Paths of image files, and a label for each, or None."""

    files: list[str]
    labels: list[Any] | None


def is_array_file(source: Any) -> bool:
    """Tell whether a source is the path of a numpy file."""
    return _is_path(source) and os.fspath(source).lower().endswith((".npy", ".npz"))


def read_arrays(path: str | os.PathLike[str], *, named: bool = True) -> tuple[Any, Any]:
    """Read .npy, or .npz with images and perhaps labels: (images, labels or None).

    Labels that are ids become names if the file says in `classes` or `class_names` which class each
    id is; with `named` False they stay ids. Nothing is unpickled. Raises FormatError for a file
    that is damaged, has no such array, or names its classes in another way.
    """
    name = str(located(path))
    try:
        content = np.load(name, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, None
        with content:
            if "images" not in content.files:
                raise FormatError(f"{name}: has no array named images, but {content.files}")
            images = content["images"]
            labels = content["labels"] if "labels" in content.files else None
            key = next((key for key in ("classes", "class_names") if key in content.files), "")
            names = content[key] if key and named else None
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{name}: not a numpy array, or a damaged one") from error
    if labels is None or names is None:
        return images, labels
    return images, _by_names(labels, names, name, key)


def _by_names(labels: Any, names: Any, path: str, key: str) -> Any:
    """Return labels as names, from a file at `path` that names its classes in `key`."""
    if names.ndim != 1 or names.dtype.kind != "U":
        raise FormatError(
            f"{path}: {key}: wanted a list of names, one for each class, got {names.dtype} "
            f"{list(names.shape)}; leave it out of the file"
        )
    if labels.dtype.kind == "U":
        return labels
    ids = ids_or_names(labels, f"{path}: labels")
    if ids.size and int(ids.max()) >= len(names):
        raise ValueError(
            f"{path}: labels: wanted 0..{len(names) - 1}, the {len(names)} names in {key}, got "
            f"{int(ids.max())}"
        )
    return names[ids]


def paths_in(source: Any) -> Any:
    """Return Paths if `source` gives paths of files, alone or with labels; else `source` itself.

    An iterator that has been looked into is returned complete. Raises TypeError for bytes and open
    files.
    """
    if isinstance(source, (bytes, bytearray, io.IOBase)):
        kind = "bytes" if isinstance(source, (bytes, bytearray)) else "an open file"
        raise TypeError(f"EdgeImages: images: wanted a path, an array or an iterable, got {kind}")
    if isinstance(source, (Mapping, Set)):
        raise TypeError(
            f"EdgeImages: images: wanted images in an order, got a {type(source).__name__}, "
            "which has none"
        )
    if _is_path(source) or not isinstance(source, Iterable):
        return source
    if hasattr(source, "__array__"):  # numpy, pandas, torch
        text = str(getattr(source, "dtype", "")).lower().startswith(("object", "str", "<u", ">u"))
        listed = np.asarray(source).ravel().tolist() if text else []
        return _paths(listed) if listed and _is_path(listed[0]) else source
    if isinstance(source, Sequence):
        return _paths(source) if len(source) and _is_item(source[0]) else source
    iterator = iter(source)  # once: a loader draws a new order each time
    first = list(itertools.islice(iterator, 1))
    if first and _is_item(first[0]):
        return _paths([*first, *iterator])
    return itertools.chain(first, iterator)


def _is_path(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike))


def _is_item(item: Any) -> bool:
    paired = isinstance(item, (tuple, list)) and len(item) == 2
    return _is_path(item[0] if paired else item)


def _paths(items: Sequence[Any]) -> Paths:
    files: list[str] = []
    labels: list[Any] = []
    for i, item in enumerate(items):
        if not _is_item(item):
            raise TypeError(
                f"EdgeImages: item {i}: wanted the path of an image file, as those before, got "
                f"{type(item).__name__}"
            )
        path, *label = (item,) if _is_path(item) else item
        files.append(os.fspath(path))
        labels += label
    if labels and len(labels) != len(files):
        raise ValueError(
            f"EdgeImages: {len(labels)} of {len(files)} paths have labels, wanted all or none"
        )
    return Paths(files, labels or None)


def read_paths(
    paths: Paths, shape: Shape, labels: Any = None, resize: Resize | None = None
) -> tuple[NDArray[np.uint8], Any]:
    """Decode image files in the order given, as `read_folder` does; none is left out.

    Returns the pixels, [n, h, w, c], and the labels: those given, or the paths' own, or None.

    Raises FormatError for a file that is not an image, FileNotFoundError, ValueError for a folder
    among them.
    """
    if labels is not None and paths.labels is not None:
        raise ValueError(
            "EdgeImages: labels: wanted them once, got labels besides those given with the paths"
        )
    entries = [_entry(path) for path in paths.files]
    array = np.empty((len(entries), *shape[1:], shape[0]), dtype=np.uint8)
    for i, (file, image) in enumerate(decode_all(entries, side_of(shape, resize))):
        array[i] = fitted("EdgeImages", file, image, shape)
    return array, paths.labels if labels is None else labels


def _entry(path: str) -> Entry:
    found = located(path)
    if not found.is_file():
        raise ValueError(
            f"EdgeImages: {path} is a folder, among paths of image files; give a folder alone"
        )
    with found.open("rb") as file:
        head = file.read(file_kinds.HEAD_BYTES)
    if file_kinds.format_of(head) is None and not file_kinds.is_image(found.name):
        reason = file_kinds.refused_by_name(found.name)
        reason = reason or file_kinds.refused_by_content(found.name, head)
        raise FormatError(f"{path}: not an image that can be read: {reason}")
    return single(found, head)._replace(name=str(path))
