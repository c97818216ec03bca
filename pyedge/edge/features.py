"""The features of images: what the student's classifier reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyedge.edge.answers import logits_of
from pyedge.edge.batches import Rows
from pyedge.edge.images import EdgeImages
from pyedge.student_features import feature_count, without_classifier

if TYPE_CHECKING:
    from pyedge.kernels import Engine
    from pyedge.student import StudentFile


def features_of(
    engine: Engine, student: StudentFile, images: EdgeImages, batch: int, rows: Rows | None = None
) -> NDArray[np.float32]:
    """Return the features of the images at `rows` (None: of all), float32 [n, f]."""
    if rows is None:
        rows = np.arange(len(images), dtype=np.int64)
    found = np.empty((len(rows), feature_count(student)), dtype=np.float32)
    engine = without_classifier(student).engine()
    for start in range(0, len(rows), batch):
        part = np.ascontiguousarray(rows[start : start + batch])
        found[start : start + batch] = engine.predict(
            images.array, rows=part, channels_last=images.channels_last
        )
    return found


def features_and_logits(
    engine: Engine, student: StudentFile, images: EdgeImages, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features and logits of images in one pass, float32 [n, f] and [n, classes]."""
    features = features_of(engine, student, images, batch)
    return features, logits_of(engine, images, batch, len(student.classes))
