"""Describing many images: a student's features and the digests of its images, by many processes.

The features of an image are the same bits in any batch and any process, and all sums of them are
whole numbers, so that statistics do not depend on who has computed what.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pyedge.cloud.jobs.cluster import cluster
from pyedge.cloud.jobs.spread import spread
from pyedge.edge.answers import PREDICT_BATCH
from pyedge.edge.describing import Describing
from pyedge.edge.features import Floats, features_and_logits
from pyedge.images.digests import Digests, image_digests
from pyedge.images.edge_images import EdgeImages
from pyedge.student.file import StudentFile

if TYPE_CHECKING:
    from pyedge.kernels import Engine

Rows = NDArray[np.int64]


def _batches(count: int) -> list[Rows]:
    every = np.arange(count, dtype=np.int64)
    return [every[start : start + PREDICT_BATCH] for start in range(0, count, PREDICT_BATCH)]


class _Features:
    """The work of computing features and logits."""

    def __init__(self, student: StudentFile, images: EdgeImages) -> None:
        self.student = student
        self.images = images

    @cached_property
    def engine(self) -> Engine:
        """Make an engine, where the work is done."""
        return self.student.engine()

    def do(self, rows: Rows) -> tuple[Floats, Floats]:
        """Return the features and logits of some images."""
        found = self.images.subset(rows)  # which may have to be read
        try:
            return features_and_logits(self.engine, found, len(rows))
        except ValueError as error:
            raise ValueError(f"among the images from {int(rows[0])}: {error}") from None


class _Digests:
    """The work of computing digests."""

    def __init__(self, images: EdgeImages) -> None:
        self.images = images

    def do(self, rows: Rows) -> Digests:
        """Return the digests of some images."""
        return image_digests(self.images.subset(rows))


class _SpreadEngine:
    """An engine that has the features of all images computed when the first are asked for."""

    def __init__(self, student: StudentFile, workers: int, where: str) -> None:
        self._student, self._engine = student, student.engine()
        self._workers, self._where = workers, where
        self._known: list[tuple[Any, Floats, Floats]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def features(self, images: Any, *, rows: Rows, channels_last: bool) -> tuple[Floats, Floats]:
        """Return features and logits of the images at `rows`."""
        for array, features, logits in self._known:
            if array is images:
                return features[rows], logits[rows]
        work = _Features(self._student, EdgeImages(images, channels_last))
        parts = list(spread(work, _batches(len(images)), self._workers, self._where))
        self._known.append((images, *(np.concatenate(each) for each in zip(*parts, strict=True))))
        return self.features(images, rows=rows, channels_last=channels_last)


@contextmanager
def describing_with(workers: int, where: str) -> Iterator[Describing]:
    """Yield what describes images with so many processes of Ray, which may begin and end here."""
    with cluster(where, workers):
        yield _SpreadDescribing(workers, where)


class _SpreadDescribing(Describing):
    """Describe images with many processes. Errors begin with `where`."""

    def __init__(self, workers: int, where: str) -> None:
        self._workers, self._where = workers, where

    def engine(self, student: StudentFile) -> Engine:
        """Return what computes features as the student's engine does."""
        return cast("Engine", _SpreadEngine(student, self._workers, self._where))

    def digests(self, images: EdgeImages) -> Digests:
        """Return a digest of each image."""
        parts = spread(_Digests(images), _batches(len(images)), self._workers, self._where)
        return np.concatenate(list(parts))
