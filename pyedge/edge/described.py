"""pyedge.add_statistics: a student that knows the statistics of its features."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pyedge.edge.analytic import with_added, with_statistics
from pyedge.edge.answers import PREDICT_BATCH
from pyedge.edge.features import features_of
from pyedge.edge.images import EdgeImages
from pyedge.edge.lesson import labelled_images
from pyedge.expansion import with_expansion
from pyedge.statistics.grid import rounded
from pyedge.statistics.solve import with_settings
from pyedge.statistics.sums import held_alone
from pyedge.student import StudentFile
from pyedge.student_file import read_student

if TYPE_CHECKING:
    from pyedge.kernels import Engine

_WHERE = "add_statistics"


def add_statistics(
    student: StudentFile | str | os.PathLike[str],
    images: Any,
    labels: Any = None,
    *,
    held: Any = None,
    expand: int | None = None,
    seed: int = 0,
    forgettable: bool = False,
) -> StudentFile:
    """Return a student with the features of labelled images added to its statistics.

    student: a StudentFile or the path of a file, which stays as it is; `write_student` writes the
    result. images, labels: as `EdgeLearner.evaluate` takes them. No answer changes by it.

    held: images of the same kind that the student was not trained on, with labels as (images,
    labels) or of their own: they choose the form of the classifier, tell how sure it may be, and
    from which distance on an image is of nothing known. Without them some of `images` do, left out
    of the sums one by one; what a student was trained on looks surer than it is.

    expand: let the classifier read so many random features of its features (RanPAC, McDonnell et
    al. 2023), a projection made from `seed` that the file does not hold. It is solved from the
    statistics at once, in the place of the one that was trained.

    forgettable: keep the second moments of each class apart, so that `forget` can take any of them
    out: f (f + 1) / 2 numbers of 8 bytes a class, in the place of once.

    Raises ValueError and TypeError as `EdgeLearner.evaluate` does, and for too few images.
    """
    if not isinstance(student, StudentFile):
        student = read_student(student)
    given = labelled_images(student, images, labels, _WHERE)
    if not len(given):
        raise ValueError(f"{_WHERE}: images is empty")
    aside = None if held is None else _held(student, held)
    engine = student.engine()
    if expand is not None:
        features = features_of(engine, given, PREDICT_BATCH)
        student = with_expansion(student, features, expand, seed, _WHERE)
        engine = student.engine()
    student = with_added(engine, student, given, None, forgettable=forgettable)
    if aside is not None:
        student = _holding(engine, student, aside)
    if expand is None:
        return student
    assert student.statistics is not None
    entry = {"command": "expand", "width": expand, "seed": seed}
    return with_statistics(student, student.statistics, entry, partly=True)


def _held(student: StudentFile, held: Any) -> EdgeImages:
    images, labels = held if isinstance(held, tuple) and len(held) == 2 else (held, None)
    found = labelled_images(student, images, labels, f"{_WHERE}: held")
    if not len(found):
        raise ValueError(f"{_WHERE}: held is empty")
    return found


def _holding(engine: Engine, student: StudentFile, aside: EdgeImages) -> StudentFile:
    """Hold these images in the place of those that the sums count."""
    statistics = student.statistics
    assert statistics is not None
    assert aside.labels is not None
    features = features_of(engine, aside, PREDICT_BATCH)
    names = [student.classes[each] for each in np.unique(aside.labels)]
    lacking = [name for name in names if name not in statistics.classes]
    if lacking:
        raise ValueError(
            f"{_WHERE}: held has images of {lacking[0]!r}, of which the statistics know nothing"
        )
    values = rounded(features, statistics.step).values
    found = held_alone(values, aside.labels, student.classes, statistics)
    return with_settings(dataclasses.replace(student, head={}), found)
