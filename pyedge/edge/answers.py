"""What a student answers: logits in batches, probabilities, and how often it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.images.edge_images import EdgeImages
from pyedge.runs.evaluation import Evaluation

if TYPE_CHECKING:
    from pyedge.kernels import Engine

PREDICT_BATCH = 128  # images at a time

Rows = NDArray[np.int64]
Logits = NDArray[np.float32]


class Prediction(NamedTuple):
    """The classes that a student predicts: ids int64 [n], probabilities float32 [n, classes]."""

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]


class OpenPrediction(NamedTuple):
    """The classes that a student predicts, and whether the images show anything that it knows.

    ids int64 [n], probabilities float32 [n, classes]: as in Prediction. distances float32 [n]: how
    much farther the features are from the nearest class than from all classes taken together
    (relative Mahalanobis distance, Ren et al. 2021). unknown bool [n]: whether this distance is
    larger than that of 95 % of known images.
    """

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    distances: NDArray[np.float32]
    unknown: NDArray[np.bool_]


def logits_of(
    engine: Engine, images: EdgeImages, batch: int, classes: int, rows: Rows | None = None
) -> Logits:
    """Return the logits of the images at `rows` (None: all of them), float32 [n, classes]."""
    if rows is None:
        rows = np.arange(len(images), dtype=np.int64)
    found = np.empty((len(rows), classes), dtype=np.float32)
    for start in range(0, len(rows), batch):
        part = np.ascontiguousarray(rows[start : start + batch])
        found[start : start + batch] = engine.predict(
            images.array, rows=part, channels_last=images.channels_last
        )
    return found


def learners_logits(
    engine: Engine,
    images: EdgeImages,
    batch: int,
    classes: int,
    rows: NDArray[np.int64] | None = None,
) -> Logits:
    """Return the logits of a student that learns: never in 8 bits, whose scales are of before.

    Arguments as of `logits_of`. Whatever becomes of it, the engine keeps its precision.
    """
    precision = engine.precision
    if precision != "int8":
        return logits_of(engine, images, batch, classes, rows)
    engine.set_precision("float32")
    try:
        return logits_of(engine, images, batch, classes, rows)
    finally:
        engine.set_precision(precision)


def prediction(logits: Logits) -> Prediction:
    """Return the class of the largest logit (the first of equal ones) and the softmax."""
    return Prediction(logits.argmax(axis=1), np.exp(_log_softmax(logits)).astype(np.float32))


def evaluation(logits: Logits, labels: NDArray[np.int64]) -> Evaluation:
    """Count which classes the images of each class were predicted as."""
    n, classes = logits.shape
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    loss = float(-_log_softmax(logits)[np.arange(n), labels].mean())
    return Evaluation(confusion, loss)


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True, initial=-np.inf)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))
