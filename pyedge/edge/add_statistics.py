"""pyedge.add_statistics: give a student the statistics of its features."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from pyedge.arguments import flag
from pyedge.classes.matching import listing
from pyedge.edge.analytic import with_added, without_stale
from pyedge.edge.answers import PREDICT_BATCH
from pyedge.edge.describing import Describing
from pyedge.edge.features import features_of
from pyedge.edge.labelled import labelled_images
from pyedge.edge.solving import with_settings
from pyedge.edge.students import AnyStudent, student_of
from pyedge.images.doubts import Doubts
from pyedge.images.edge_images import EdgeImages
from pyedge.keywords import keywords
from pyedge.statistics.calibration import LEAST_HELD
from pyedge.statistics.grid import rounded
from pyedge.statistics.sums import held_alone
from pyedge.student.expansion import Expand, random_features, with_expansion
from pyedge.student.file import StudentFile
from pyedge.warning import warn

if TYPE_CHECKING:
    from pyedge.kernels import Engine

_WHERE = "add_statistics"


@keywords()
def add_statistics(
    student: AnyStudent,
    images: Any,
    labels: Any = None,
    *,
    held: Any = None,
    expand: Expand = None,
    seed: int = 0,
    forgettable: bool = False,
) -> StudentFile:
    """Return a student with the features of labelled images added to its statistics.

    student: a StudentFile, its file or a learner, which is not changed; `write_student` writes the
    result. images, labels: as `EdgeLearner.evaluate` takes them. The student's answers stay the
    same.

    held: images of the same kind that the student was not trained on, as (images, labels) or with
    labels of their own. They choose the form of the classifier, its temperature, and the distance
    from which an image counts as unknown. Without them some of `images` are used for this, each
    left out of the sums in turn; answers to images that a student was trained on look surer than
    they should.

    expand: let the classifier also read this many random features (RanPAC, McDonnell et al. 2023),
    a projection made from `seed`, which the file does not hold; a classifier solved from them draws
    curved borders between classes. The student's answers stay the same. "auto", the default of
    `pyedge.export`: as many as docs/learning.md says, if statistics are begun and the classifier
    reads few features. The random features are scaled by these images, so devices whose statistics
    are to be merged must all begin with one file that already has them.

    forgettable: keep second moments for each class apart, so that `forget` can take out any class:
    f (f + 1) / 2 numbers of 8 bytes for each class, instead of once.

    Raises ValueError and TypeError as `EdgeLearner.evaluate` does, and for too few images.
    """
    student = student_of(student, _WHERE)
    given = labelled_images(student, images, labels, _WHERE)
    aside = None
    if held is not None:
        pictures, truth = held if isinstance(held, tuple) and len(held) == 2 else (held, None)
        aside = labelled_images(student, pictures, truth, f"{_WHERE}: held")
    return with_described(
        student, given, aside, expand=expand, seed=seed, forgettable=forgettable, where=_WHERE
    )


def with_described(
    student: StudentFile,
    given: EdgeImages,
    held: EdgeImages | None,
    *,
    expand: Expand,
    seed: int,
    forgettable: bool,
    where: str,
    describing: Describing | None = None,
) -> StudentFile:
    """Do the work of `add_statistics` with labelled images; messages begin with `where`.

    describing: who computes; None: this process.
    """
    describing = Describing() if describing is None else describing
    forgettable = flag(forgettable, f"{where}: forgettable")
    if not len(given):
        raise ValueError(f"{where}: images: wanted at least one, got none")
    doubts = Doubts(student.preprocessing)
    doubts.look(given, where)
    if held is not None:
        if not len(held):
            raise ValueError(f"{where}: held: wanted at least one image, got none")
        doubts.look(held, f"{where}: held")
        _tell_of_shared(given, held, where, describing)
        if len(held) < LEAST_HELD:
            warn(
                f"{where}: held: wanted at least {LEAST_HELD} images, to tell how sure an answer "
                f"is and what is unknown, got {len(held)}"
            )
    student = without_stale(student, where)
    engine = describing.engine(student)
    width = random_features(student, expand, len(given), where)
    if width is not None:
        features = features_of(engine, given, PREDICT_BATCH)
        wide = with_expansion(student, features, width, seed, where)
        if student.statistics is not None:
            warn(
                f"{where}: expand={width} changes the features that the classifier reads, so the "
                "student's statistics are begun anew"
            )
        student = wide
        entry = {"command": "expand", "width": width, "seed": seed}
        student = dataclasses.replace(student, record=(*student.record, entry))
        engine = describing.engine(student)
    student = with_added(engine, student, given, None, forgettable=forgettable, where=where)
    if held is not None:
        student = _holding(engine, student, held, where)
    assert student.statistics is not None
    return with_settings(student, student.statistics)


def _tell_of_shared(
    given: EdgeImages, held: EdgeImages, where: str, describing: Describing
) -> None:
    """Warn of held images that are also counted: answers to them look surer than they should."""
    counted = {each.tobytes() for each in describing.digests(given)}
    shared = sum(each.tobytes() in counted for each in describing.digests(held))
    if shared:
        warn(
            f"{where}: {shared} of the {len(held)} images of held are among the {len(given)} that "
            "the statistics count; hold others, or answers look surer than they should"
        )


def _holding(engine: Engine, student: StudentFile, aside: EdgeImages, where: str) -> StudentFile:
    """Hold these images instead of those that the sums count."""
    statistics = student.statistics
    assert statistics is not None
    assert aside.labels is not None
    features = features_of(engine, aside, PREDICT_BATCH)
    names = [student.classes[each] for each in np.unique(aside.labels)]
    lacking = [name for name in names if name not in statistics.classes]
    if lacking:
        raise ValueError(
            f"{where}: held has images of {listing(lacking)}, which the statistics do not know"
        )
    values = rounded(features, statistics.step).values
    found = held_alone(values, aside.labels, student.classes, statistics)
    *before, entry = student.record
    record = (*before, {**entry, "held": len(aside)})
    return dataclasses.replace(student, statistics=found, head={}, record=record)
