"""Features: what a student's classifier reads, of any images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyedge.images.edge_images import EdgeImages
from pyedge.images.rows import Rows

if TYPE_CHECKING:
    from pyedge.kernels import Engine

Floats = NDArray[np.float32]


def features_and_logits(
    engine: Engine, images: EdgeImages, batch: int, rows: Rows | None = None
) -> tuple[Floats, Floats]:
    """Return features and logits of the images at `rows` (None: all of them), `batch` at a time.

    float32 [n, f] and [n, classes], from one pass of a student's engine. Raises ValueError if a
    feature is not finite.
    """
    if rows is None:
        rows = np.arange(len(images), dtype=np.int64)
    parts = [
        engine.features(
            images.array,
            rows=np.ascontiguousarray(rows[start : start + batch]),
            channels_last=images.channels_last,
        )
        for start in range(0, max(len(rows), 1), batch)
    ]
    features = np.concatenate([each for each, _ in parts])
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(f"features of image {int(rows[finite.argmin()])} are not finite")
    return features, np.concatenate([each for _, each in parts])


def features_of(engine: Engine, images: EdgeImages, batch: int, rows: Rows | None = None) -> Floats:
    """Return the features of images, float32 [n, f]; see `features_and_logits`."""
    return features_and_logits(engine, images, batch, rows)[0]
