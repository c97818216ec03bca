"""pyedge.make_category: a class for devices that have no images of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pyedge.arguments import checked_path, choice, kind_of, whole
from pyedge.classes.matching import listing
from pyedge.classes.names import checked_names
from pyedge.edge.analytic import on_grid
from pyedge.edge.answers import PREDICT_BATCH
from pyedge.edge.solving import check_fresh
from pyedge.edge.students import AnyStudent, student_of
from pyedge.images.doubts import Doubts
from pyedge.images.edge_images import EdgeImages
from pyedge.keywords import keywords
from pyedge.statistics.category_file import DETAILS, write_category
from pyedge.statistics.stored import MOST_FEATURES

if TYPE_CHECKING:
    from pyedge.statistics.sums import Statistics

_WHERE = "make_category"
_RANK = 32


@keywords()
def make_category(
    student: AnyStudent,
    images: Any,
    name: str,
    path: str | os.PathLike[str],
    *,
    detail: str = "mean",
    rank: int = _RANK,
) -> Statistics:
    """Write a category file: what a class adds to a student's statistics, without any image.

    student: a StudentFile, its file or a learner, which is not changed. A device accepts the
    category (`EdgeLearner.add_category`) if its student computes the same features: the same
    weights before the classifier. images: of this one class, as `EdgeLearner.predict` takes them.
    name: of the class. path: written atomically.

    detail: "mean" writes the number of images and the mean of their features, 4 bytes a feature;
    for how the features spread, the device then relies on its other classes. "low_rank" adds the
    `rank` directions in which they spread most, 2 bytes a feature each, and one number for all
    others. "full" adds all second moments, 4 bytes for each pair of features, twice, and the
    features of up to 20 images, with which the device calibrates.

    Returns what the file holds, as `pyedge.read_category` does. Raises ValueError and TypeError as
    `EdgeLearner.predict` does, and for no image, images of several classes, a name that a file
    cannot hold, and a student whose statistics are stale; OSError if writing fails.
    """
    choice(detail, f"{_WHERE}: detail", DETAILS)
    rank = whole(rank, f"{_WHERE}: rank", 1, MOST_FEATURES)
    if rank != _RANK and detail != "low_rank":
        raise ValueError(f'{_WHERE}: rank: wanted with detail="low_rank" alone, got {rank}')
    if not isinstance(name, str):
        raise TypeError(f"{_WHERE}: name: wanted text, got {kind_of(name)}")
    (name,) = checked_names([name], f"{_WHERE}: name")
    checked_path(path, _WHERE)
    student = student_of(student, _WHERE)
    if student.statistics is not None:
        check_fresh(student, _WHERE)
    given = EdgeImages.of(
        images, student.input_shape, labelled=None, preprocessing=student.preprocessing
    )
    _check_one_class(given)
    Doubts(student.preprocessing).look(given, _WHERE)
    rows = np.arange(len(given), dtype=np.int64)
    found = on_grid(student.engine(), student, given, rows, PREDICT_BATCH, _WHERE)
    return write_category(
        path,
        found.values,
        name,
        digest=found.digest,
        step=found.step,
        detail=detail,
        rank=rank,
    )


def _check_one_class(images: EdgeImages) -> None:
    if not len(images):
        raise ValueError(f"{_WHERE}: images: wanted at least one, got none")
    if images.labels is None:
        return
    ids = np.unique(images.labels).tolist()
    if len(ids) > 1:
        names = images.class_names
        called = [str(each) if names is None else names[each] for each in ids]
        raise ValueError(
            f"{_WHERE}: images: wanted images of one class, got {len(ids)}: {listing(called)}"
        )
