"""Learning in closed form: a forward pass, sums, and one solve.

After any number of calls the classifier equals one solved from all images seen so far at once, up
to the rounding of the features (Zhuang et al. 2022; Hayes and Kanan 2020): old classes are not
forgotten, because their sums are still there.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import kind_of
from pyedge.classes.matching import listing
from pyedge.edge.answers import PREDICT_BATCH, evaluation, logits_of
from pyedge.edge.features import features_of
from pyedge.edge.footprint import Footprint, largest_batch, needed_bytes
from pyedge.edge.lesson import Lesson
from pyedge.edge.result import LearnResult
from pyedge.edge.solving import check_fresh, solve, with_settings
from pyedge.images.edge_images import EdgeImages
from pyedge.runs.evaluation import scored
from pyedge.statistics.calibration import calibration_error
from pyedge.statistics.grid import rounded, step_for
from pyedge.statistics.merging import joined, merged, without, without_class
from pyedge.statistics.sums import Statistics, of_values, sums_digest
from pyedge.student.features import classifier_of, features_digest
from pyedge.student.tail import without_rows
from pyedge.warning import warn

if TYPE_CHECKING:
    from pyedge.edge.run import Score
    from pyedge.kernels import Engine
    from pyedge.student.file import StudentFile


def summed(
    engine: Engine,
    student: StudentFile,
    images: EdgeImages,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    batch: int,
    where: str,
) -> Statistics:
    """Return the statistics of the images at `rows`, labels int64 [rows], on the student's grid.

    Each class has second moments of its own.
    """
    found = on_grid(engine, student, images, rows, batch, where)
    return of_values(
        found.values,
        labels,
        student.classes,
        digest=found.digest,
        step=found.step,
        pooled=False,
    )


def _together(student: StudentFile, more: Statistics, where: str, forgettable: bool) -> Statistics:
    """Add sums to the student's; unless `forgettable`, to the second moments that classes share."""
    known = [] if student.statistics is None else [student.statistics]
    try:
        whole = merged([*known, more])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return whole if forgettable else joined(whole, more.classes)


class OnGrid(NamedTuple):
    """Features as whole numbers, int32 [n, f], with their digest and step."""

    values: NDArray[np.int32]
    digest: str
    step: float


def on_grid(
    engine: Engine,
    student: StudentFile,
    images: EdgeImages,
    rows: NDArray[np.int64],
    batch: int,
    where: str,
) -> OnGrid:
    """Return the features of the images at `rows`, on the grid of the student's statistics.

    A student without statistics has no grid yet: one is chosen for these features.
    """
    try:
        features = features_of(engine, images, batch, rows)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    known = student.statistics
    step = step_for(features) if known is None else known.step
    found = rounded(features, step)
    if found.clipped:
        warn(
            f"{where}: {found.clipped} of {features.size} features are far larger than any that "
            "the statistics were begun with, and were clipped: are these images like the others?"
        )
    digest = features_digest(student) if known is None else known.digest
    return OnGrid(found.values, digest, step)


def learn_statistics(
    engine: Engine,
    student: StudentFile,
    lesson: Lesson,
    max_memory: int | None,
    score: Score | None,
    takes: Callable[[int], None],
    *,
    forgettable: bool,
) -> tuple[StudentFile, LearnResult]:
    """Add the images of a lesson to the student's statistics, and solve for its classifier.

    Without labels, an image's label is the class that the teacher predicts for it.
    """
    began = time.perf_counter()
    footprint = Footprint.at_rest(engine, student)
    batch = largest_batch(footprint, max_memory, PREDICT_BATCH, training=False)
    takes(needed_bytes(footprint, batch, training=False) - footprint.copies)
    if student.statistics is not None:
        check_fresh(student, "learn")
    labels = (lesson.labels if lesson.labels is not None else lesson.teacher_labels())[lesson.rows]
    more = summed(engine, student, lesson.images, lesson.rows, labels, batch, "learn")
    entry = {
        "command": "learn",
        "method": "statistics",
        "images": len(lesson.rows),
        "labels": lesson.labels is not None,
        "knowledge": None if lesson.knowledge is None else lesson.knowledge.digest,
        # by which two students that have learned other images are told apart
        "sums": sums_digest(more),
    }
    student = with_statistics(student, _together(student, more, "learn", forgettable), entry)
    engine = with_classifier(engine, student)
    seconds = time.perf_counter() - began
    row: dict[str, Any] = {"step": 0, "epoch": 0, "lr": 0.0, "seconds": seconds}
    best = None
    if lesson.validation is not None:
        held = lesson.validation
        logits = logits_of(engine, held.images, batch, len(student.classes), held.rows)
        found = evaluation(logits, held.labels)
        best = scored(score, found, "learn")
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        row.update(
            val_accuracy=found.accuracy,
            val_loss=found.loss,
            val_score=best,
            val_calibration_error=calibration_error(shares, held.labels),
        )
    return student, LearnResult([row], 0, 0, best, 0, seconds, False, batch)


def with_statistics(
    student: StudentFile, statistics: Statistics, entry: dict[str, Any]
) -> StudentFile:
    """Return the student with these statistics, their classifier, and an entry in its record."""
    found = solve(student, statistics, str(entry["command"]))
    return dataclasses.replace(found, record=(*student.record, entry))


def without_stale(student: StudentFile, where: str) -> StudentFile:
    """Return the student, without its statistics if its features have changed since; warn then."""
    known = student.statistics
    if known is None or known.digest == features_digest(student):
        return student
    warn(f"{where}: the features have changed since the statistics, which are begun anew")
    return dataclasses.replace(student, statistics=None, head={})


def with_added(
    engine: Engine,
    student: StudentFile,
    images: EdgeImages,
    max_memory: int | None,
    *,
    forgettable: bool,
    where: str = "add_statistics",
) -> StudentFile:
    """Return the student with labelled images added to its statistics, or to new ones.

    Its head is unchanged; `with_settings` updates it.
    """
    if not len(images):
        raise ValueError(f"{where}: images: wanted at least one, got none")
    assert images.labels is not None
    student = without_stale(student, where)
    footprint = Footprint.at_rest(engine, student)
    batch = largest_batch(footprint, max_memory, PREDICT_BATCH, training=False)
    rows = np.arange(len(images), dtype=np.int64)
    more = summed(engine, student, images, rows, images.labels, batch, where)
    entry = {"command": "add_statistics", "images": len(images)}
    whole = _together(student, more, where, forgettable)
    return dataclasses.replace(student, statistics=whole, record=(*student.record, entry))


def forgotten(student: StudentFile, what: Any) -> StudentFile:
    """Return the student without a class, or without statistics that were added to its own."""
    if not isinstance(what, (str, Statistics)):
        raise TypeError(
            f"forget: what: wanted the name of a class, or Statistics, got {kind_of(what)}"
        )
    known = check_fresh(student, "forget")
    try:
        left = without_class(known, what) if isinstance(what, str) else without(known, what)
    except ValueError as error:
        raise ValueError(f"forget: {error}") from None
    gone = [name for name in known.classes if name not in left.classes]
    student = without_rows(student, gone, "forget")
    return with_statistics(student, left, {"command": "forget", "classes": gone})


def with_classifier(engine: Engine, student: StudentFile) -> Engine:
    """Give an engine a student's classifier; return it, or another one for another graph."""
    node = classifier_of(student)
    if not {node["weight"], node["bias"]} <= set(engine.array_names):
        return student.engine(engine.precision)
    for field in ("weight", "bias"):
        engine.set_array(node[field], student.arrays[node[field]])
    return engine


def after_steps(
    engine: Engine, before: StudentFile, student: StudentFile, lesson: Lesson
) -> StudentFile:
    """Return a student that has learned by steps, without statistics that the steps made stale.

    If there is a memory, they are made anew from its images and those of the lesson.
    """
    known = before.statistics
    if known is None or known.digest == features_digest(student):
        return student
    bare = dataclasses.replace(student, statistics=None, head={})
    replay = lesson.replay
    if replay is None:
        warn(
            "learn: layers before the classifier have changed, so the statistics of their features "
            "are dropped; pyedge.add_statistics makes them anew, and so does learn with memory"
        )
        return bare
    remembered = np.arange(len(replay.labels), dtype=np.int64)
    sets = [
        (replay.images, remembered, replay.labels),
        (lesson.images, lesson.rows, replay.new_labels[lesson.rows]),
    ]
    found: list[Statistics] = []
    for images, rows, labels in sets:
        like = bare if not found else dataclasses.replace(bare, statistics=found[0])
        found.append(summed(engine, like, images, rows, labels, PREDICT_BATCH, "learn"))
    made = merged(found)
    made = joined(made, made.classes)
    lost = [name for name in known.classes if name not in made.classes]
    warn(
        f"learn: layers before the classifier have changed; the statistics are now those of "
        f"{int(made.counts.sum())} images of memory and of this call, not of "
        f"{int(known.counts.sum())}" + (f", and know nothing of {listing(lost)}" if lost else "")
    )
    return with_settings(bare, made)
