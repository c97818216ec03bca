"""Images that tell how large the numbers of a student are, in any form that the cloud side has."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from pyedge.cloud.exporting.with_statistics import as_array, as_float32, is_batch
from pyedge.cloud.feed.batch import Source, split
from pyedge.cloud.feed.loaders import Feed
from pyedge.data.batch_loader import BatchLoader
from pyedge.edge.add_int8 import MOST_IMAGES, with_int8
from pyedge.images.edge_images import EdgeImages
from pyedge.student.file import StudentFile

_WHERE = "export: int8"


def with_int8_of(file: StudentFile, given: Any) -> StudentFile:
    """Return the file with weights in 8 bits, and scales by these images; labels do not matter."""
    if isinstance(given, tuple) and len(given) == 2 and not is_batch(given[0]):
        given = given[0]  # (images, labels)
    if isinstance(given, (DataLoader, BatchLoader)) or (
        isinstance(given, list) and given and is_batch(given[0])
    ):
        given = _first(given)
    elif isinstance(given, (Tensor, np.ndarray)):
        given = as_float32(as_array(given))
    images = EdgeImages.of(given, file.input_shape, labelled=None, preprocessing=file.preprocessing)
    return with_int8(file, images, _WHERE)


def _first(loader: Any) -> np.ndarray:
    """Return as many images of a loader as are looked at."""
    source = Source("export", "int8")
    parts: list[np.ndarray] = []
    for item in Feed(loader, source):
        images, _ = split(item, source, labels=False)
        parts.append(np.array(as_float32(as_array(images))))  # a loader may fill it again
        if sum(len(each) for each in parts) >= MOST_IMAGES:
            break
    if not parts:
        raise ValueError(f"{_WHERE}: wanted at least one image, got none")
    return np.concatenate(parts)
