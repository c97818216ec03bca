"""The images of a command that runs on a device: with only numpy, or Pillow for image files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyedge.cli.parsing import UsageError, existing
from pyedge.images.edge_images import EdgeImages, resize_of
from pyedge.images.entries import Entry
from pyedge.images.folder import decode_entries, no_images
from pyedge.images.left_out import LeftOut, shown
from pyedge.images.listed_files import listed_folder
from pyedge.images.named_files import is_array_file, read_arrays
from pyedge.images.sources import walk

Shape = tuple[int, int, int]


def load(
    path: str,
    shape: Shape,
    *,
    labelled: bool,
    splits: bool | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    listed: bool = False,
) -> EdgeImages:
    """Read DATA for a student of `shape`; with `labelled`, its images must have labels.

    DATA is a folder or an archive of class folders, or arrays. `splits`: as in `read_folder`;
    preprocessing: the student's, as in `EdgeImages.of`. listed: only list the files of a folder,
    which are read where they are asked for.
    """
    existing(path)
    if not is_array_file(path):
        if listed:
            return listed_folder(
                path, shape, labelled=labelled, splits=splits, resize=resize_of(preprocessing)
            )
        return EdgeImages.from_folder(
            path, shape, labelled=labelled, splits=splits, preprocessing=preprocessing
        )
    images, labels = read_arrays(path, named=labelled)
    if labelled and labels is None:
        raise UsageError(
            f"{path} has no labels; pyedge learn --no-labels with --knowledge learns without"
        )
    try:
        given = labels if labelled else None
        return EdgeImages.of(images, shape, given, preprocessing=preprocessing)
    except TypeError as error:  # of another dtype
        raise UsageError(f"{path}: {error}") from error


def named_images(
    paths: Sequence[str], shape: Shape, preprocessing: Mapping[str, Any] | None = None
) -> tuple[list[str], EdgeImages]:
    """Read image files, folders and archives of any depth, and arrays; each image gets a name.

    preprocessing: the student's, as in `EdgeImages.of`.
    """
    resize = resize_of(preprocessing)
    names: list[str] = []
    arrays = []
    for path in paths:
        existing(path)
        if is_array_file(path):
            found = load(path, shape, labelled=False, preprocessing=preprocessing)
            names += [f"{path}[{i}]" for i in range(len(found))]
            arrays.append(found.planar(slice(None)))
            continue
        left_out = LeftOut()
        entries = {e.name: e for e in walk(path, left_out=left_out) if e.read is not None}
        if not entries:
            raise no_images(path, left_out)
        kept, pixels = decode_entries(path, entries, sorted(entries), shape, left_out, resize)
        left_out.warn(path, len(kept))
        names += [shown(name) for name in _whole(path, entries, kept)]
        arrays.append(pixels.transpose(0, 3, 1, 2))
    if len({array.dtype for array in arrays}) > 1:
        raise UsageError("some of the images are uint8 and some float32; predict them apart")
    return names, EdgeImages.from_array(np.concatenate(arrays), shape, channels_last=False)


def _whole(path: str, entries: dict[str, Entry], kept: Sequence[str]) -> list[str]:
    """Return the names of images with that of their folder or archive, if any, before them."""
    if os.path.isfile(path) and list(entries) == [os.path.basename(path)]:
        return [path]
    return [os.path.join(path, name) for name in kept]
