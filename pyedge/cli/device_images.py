"""The images of a command that runs on a device: with numpy alone, or Pillow for image files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyedge.cli.parsing import UsageError, existing
from pyedge.edge.decode import is_image
from pyedge.edge.folder import decode_entries
from pyedge.edge.images import EdgeImages
from pyedge.edge.sources import Entry, walk
from pyedge.errors import FormatError

DATA = (
    "images: a folder or archive (.tar, .tar.gz, .tar.xz) of class folders, or arrays: .npy, or "
    ".npz with images, and labels (numbers or names)"
)

Shape = tuple[int, int, int]


def load(path: str, shape: Shape, *, labelled: bool) -> EdgeImages:
    """Read DATA for a student of `shape`; with `labelled`, its images must have labels."""
    existing(path)
    if Path(path).suffix not in (".npy", ".npz"):
        return EdgeImages.from_folder(path, shape, labelled=labelled)
    images, labels = _arrays(path)
    if labelled and labels is None:
        raise UsageError(f"{path} has no labels; --no-labels with --knowledge learns without")
    try:
        return EdgeImages.from_array(images, shape, labels if labelled else None)
    except TypeError as error:  # of another dtype
        raise UsageError(f"{path}: {error}") from error


def named_images(paths: Sequence[str], shape: Shape) -> tuple[list[str], EdgeImages]:
    """Read image files, folders with images at any depth, and arrays; each image has a name."""
    names: list[str] = []
    arrays = []
    for path in paths:
        existing(path)
        if Path(path).suffix in (".npy", ".npz"):
            found = load(path, shape, labelled=False)
            names += [f"{path}[{i}]" for i in range(len(found))]
            arrays.append(found.planar(slice(None)))
            continue
        entries = {entry.name: entry for entry in _files(path) if entry.read is not None}
        if not entries:
            raise FormatError(f"{path}: no images (.jpg, .png, ...) in it")
        pixels = decode_entries(path, entries, sorted(entries), shape)
        whole = path if Path(path).is_dir() else str(Path(path).parent)
        names += [str(Path(whole) / name) for name in sorted(entries)]
        arrays.append(pixels.transpose(0, 3, 1, 2))
    if len({array.dtype for array in arrays}) > 1:
        raise UsageError("some of the images are uint8 and some float32; predict them apart")
    return names, EdgeImages.from_array(np.concatenate(arrays), shape, channels_last=False)


def _files(path: str) -> list[Entry]:
    if Path(path).is_file() and is_image(path):
        return [Entry(Path(path).name, Path(path).read_bytes)]
    return list(walk(path, is_image))


def _arrays(path: str) -> tuple[Any, Any]:
    """Read .npy or .npz; nothing is unpickled."""
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, None
        with content:
            if "images" not in content.files:
                raise FormatError(f"{path}: has no array called images, but {content.files}")
            return content["images"], content["labels"] if "labels" in content.files else None
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: not an array of numpy's, or a damaged one") from error
