"""pyedge.add_int8: weights in 8 bits, and the scales by which a student computes in 8 bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import flag
from pyedge.edge.students import AnyStudent, student_of
from pyedge.images.doubts import Doubts
from pyedge.images.edge_images import EdgeImages
from pyedge.images.rows import Rows
from pyedge.keywords import keywords
from pyedge.student.file import StudentFile
from pyedge.student.int8_weights import can_be_int8, scales_of, weight_of, whole_numbers

if TYPE_CHECKING:
    from pyedge.edge.lesson import Lesson
    from pyedge.kernels import Engine

_WHERE = "add_int8"
MOST_IMAGES = 256
_BATCH = 32

Scales = dict[str, tuple[float, int]]


@keywords()
def add_int8(student: AnyStudent, images: Any, *, weights: bool = True) -> StudentFile:
    """Return a student that can compute in 8 bits, `EdgeLearner(..., precision="int8")`.

    student: a StudentFile, its file or a learner, which is not changed; `write_student` writes the
    result. images: any that are like those that it will see, as `EdgeLearner.predict` takes them;
    labels are not needed. At most 256 of them, evenly spread, tell how large the numbers are that
    each layer reads, and these ranges become scales.

    weights: round the weights of all layers but the classifier to 8 bits, a scale for each output
    channel, so that a file takes about a quarter of the bytes. Answers in float32 are then those of
    the rounded weights. A layer that learns goes on from them, and is stored in float32 again.

    Raises ValueError and TypeError as `EdgeLearner.predict` does, ValueError without images, and
    for `weights` of a student with statistics, which are of features of the weights as they were.
    """
    student = student_of(student, _WHERE)
    weights = flag(weights, f"{_WHERE}: weights")
    given = EdgeImages.of(
        images, student.input_shape, labelled=None, preprocessing=student.preprocessing
    )
    return with_int8(student, given, _WHERE, weights=weights)


def with_int8(
    student: StudentFile,
    images: EdgeImages,
    where: str,
    *,
    weights: bool = True,
    share: float = 1.0,
) -> StudentFile:
    """Do the work of `add_int8`; messages begin with `where`.

    share: of the images whose largest numbers are held; those of others may be clipped. All of them
    is as good as any that was tried (docs/int8.md).
    """
    if not len(images):
        raise ValueError(f"{where}: images: wanted at least one, got none")
    if weights and student.statistics is not None:
        raise ValueError(
            f"{where}: weights: wanted False for a student with statistics, which are of features "
            "of its weights as they are (pyedge.export takes int8 and statistics at once), got True"
        )
    Doubts(student.preprocessing).look(images, where)
    if weights:
        student = _with_rounded_weights(student)
    rows = np.arange(len(images), dtype=np.int64)
    scales = _scales(student.engine(), student, images, rows, {}, share=share)
    entry = {"command": "add_int8", "images": min(len(images), MOST_IMAGES), "weights": weights}
    return dataclasses.replace(student, input_scales=scales, record=(*student.record, entry))


def with_wider_scales(
    engine: Engine, student: StudentFile, lesson: Lesson, batch: int
) -> StudentFile:
    """Return a student whose scales also hold what its layers, which have learned, now read.

    They read the lesson's images, and those of its memory; at most `batch` at a time, which is what
    there was memory for. The engine, which has the student's weights, gets the scales as well. A
    student without scales is returned as it is.
    """
    if not student.input_scales:
        return student
    batch = min(batch, _BATCH)
    known = student.input_scales
    scales = _scales(engine, student, lesson.images, lesson.rows, known, batch=batch)
    if lesson.replay is not None:
        rows = np.arange(len(lesson.replay.images), dtype=np.int64)
        scales = _scales(engine, student, lesson.replay.images, rows, scales, batch=batch)
    engine.set_input_scales(scales)
    return dataclasses.replace(student, input_scales=scales)


def _with_rounded_weights(student: StudentFile) -> StudentFile:
    arrays = dict(student.arrays)
    found = {}
    for node in can_be_int8(student):
        name = node["weight"]
        scales = scales_of(arrays[name])
        arrays[name] = weight_of(whole_numbers(arrays[name], scales), scales)
        found[name] = scales
    return dataclasses.replace(student, arrays=arrays, weight_scales=found)


def _scales(
    engine: Engine,
    student: StudentFile,
    images: EdgeImages,
    rows: Rows,
    known: Mapping[str, tuple[float, int]],
    *,
    share: float = 1.0,
    batch: int = _BATCH,
) -> Scales:
    """Return scale and zero point of what each layer reads; those known are never made narrower."""
    ranges = _ranges(engine, images, rows, share, batch)
    found = {}
    for node in can_be_int8(student):
        name = node["name"]
        if name not in ranges:
            continue  # groups stay in float32
        low, high = ranges[name]
        if name in known:
            scale, zero_point = found[name] = known[name]
            least, most = -scale * zero_point, scale * (255 - zero_point)
            if low >= least - scale and high <= most + scale:
                continue  # nor wider by what rounding took off
            low, high = min(low, least), max(high, most)
        found[name] = scale_of(low, high)
    return found


def _ranges(
    engine: Engine, images: EdgeImages, rows: Rows, share: float, batch: int
) -> dict[str, tuple[float, float]]:
    """Return the least and the largest number, 0 among them, that each layer reads of images."""
    if len(rows) > MOST_IMAGES:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_IMAGES).astype(np.int64)]
    parts: dict[str, list[NDArray[np.float32]]] = {}
    for start in range(0, len(rows), batch):
        found = engine.input_ranges(
            images.array,
            rows=np.ascontiguousarray(rows[start : start + batch]),
            channels_last=images.channels_last,
        )
        for name, ends in found.items():
            parts.setdefault(name, []).append(ends)
    ranges = {}
    for name, each in parts.items():
        ends = np.concatenate(each)
        if not np.isfinite(ends).all():
            raise ValueError(
                f"images: wanted images of which every layer reads finite numbers, got some of "
                f"which {name!r} reads infinity or NaN"
            )
        low, high = np.quantile(ends[:, 0], 1 - share), np.quantile(ends[:, 1], share)
        ranges[name] = float(low), float(high)
    return ranges


def scale_of(low: float, high: float) -> tuple[float, int]:
    """Return scale and zero point of 8 bits that hold the numbers from `low` to `high`, and 0."""
    scale = float(np.float32((float(high) - float(low)) / 255))
    if not 1e-30 <= scale <= 1e30:  # nothing to tell apart, or nothing that a float32 can
        return (1.0 if scale < 1e-30 else 1e30), 0
    return scale, min(max(round(-float(low) / scale), 0), 255)
