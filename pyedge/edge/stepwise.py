"""One call of `learn` that takes steps: the engine made ready, the run, and a new student.

`pyedge.edge.analytic` is the other way, which takes none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyedge.edge.answers import PREDICT_BATCH, learners_logits
from pyedge.edge.batches import Batches
from pyedge.edge.checkpoint import Checkpoint, read_checkpoint
from pyedge.edge.footprint import Footprint, largest_batch, needed_bytes, training_batch
from pyedge.edge.learn_options import LearnOptions
from pyedge.edge.lesson import Lesson, weights_digest
from pyedge.edge.replay import LEAST
from pyedge.edge.result import LearnResult
from pyedge.edge.run import Run, Score, result_of
from pyedge.edge.trainable import arrays_that_change, reached_from, trainable_layers
from pyedge.student.file import StudentFile

if TYPE_CHECKING:
    from pyedge.kernels import Engine


def learn_lesson(
    engine: Engine,
    student: StudentFile,
    lesson: Lesson,
    options: LearnOptions,
    max_memory: int | None,
    score: Score | None,
    takes: Callable[[int], None],
) -> tuple[StudentFile, LearnResult]:
    """Make an engine of `student` learn, and return the student that results.

    `takes` is called with the bytes that this needs besides the student's arrays. After any error
    the caller must reset the engine with `restore_engine`.
    """
    layers = _layers(student, lesson, options)
    changing = arrays_that_change(student.nodes, layers, options.batch_norm)
    optimizer = _optimizer(options)
    engine.set_trainable(list(layers))
    engine.set_batch_norm(options.batch_norm)
    engine.set_optimizer(**optimizer)
    if options.warm_start and student.state:
        _go_on(engine, student, optimizer)
    footprint = Footprint.of(engine, student.arrays, changing)
    batches = _batches(footprint, student, lesson, options, max_memory)
    answers = largest_batch(footprint, max_memory, PREDICT_BATCH, training=False)
    most = needed_bytes(footprint, batches.size, training=True)
    if lesson.validation is not None:
        held = min(answers, len(lesson.validation.rows))
        most = max(most, needed_bytes(footprint, held, training=False))
    takes(most - footprint.copies)
    if lesson.replay is not None and "J_1" in lesson.parts(options):
        before = learners_logits(engine, lesson.replay.images, answers, len(student.classes))
        replay = lesson.replay.with_answers(before)
        lesson = dataclasses.replace(lesson, replay=replay)
    identity = _identity(student, lesson, options, batches, engine.precision)
    saved = _already_learned(student, options, identity)
    if saved is not None:
        result = result_of(saved.state, options, batches)
    else:
        run = Run(
            engine,
            lesson,
            options,
            batches=batches,
            validation_batch=answers,
            classes=len(student.classes),
            changing=changing,
            identity=identity,
            score=score,
        )
        result = run.fit()
        student = dataclasses.replace(
            student,
            arrays={**student.arrays, **run.weights()},
            optimizer=optimizer,
            state={name: np.array(slot) for name, slot in engine.state().items()},
            record=(*student.record, _entry(lesson, options, layers, identity, result)),
        )
    _rest(engine, student)
    return student, result


def restore_engine(student: StudentFile, engine: Engine) -> None:
    """Return an engine to its state before `learn_lesson`."""
    for name in engine.array_names:
        engine.set_array(name, student.arrays[name])
    engine.set_input_scales(dict(student.input_scales))
    _rest(engine, student)


def _rest(engine: Engine, student: StudentFile) -> None:
    """Leave the engine as a student's file makes it, so that `memory` counts it so."""
    engine.set_trainable(list(student.trainable))
    engine.set_batch_norm("frozen")


def _layers(student: StudentFile, lesson: Lesson, options: LearnOptions) -> tuple[str, ...]:
    """Name the layers that learn: those asked for that the losses reach."""
    layers = trainable_layers(student, options.trainable)
    if set(lesson.parts(options)) == {"J_b"}:
        reached = reached_from(student.nodes, student.taps)
        layers = tuple(name for name in layers if name in reached)
        if not layers:
            raise ValueError(
                f"learn: trainable={options.trainable!r} leaves nothing that J_b can train"
            )
    return layers


def _optimizer(options: LearnOptions) -> dict[str, Any]:
    return {
        "kind": options.optimizer,
        "momentum": options.momentum,
        "nesterov": options.momentum > 0,
        "weight_decay": options.weight_decay,
        "clip": 0.0 if options.clip is None else options.clip,
    }


def _go_on(engine: Engine, student: StudentFile, optimizer: Mapping[str, Any]) -> None:
    """Give the engine the optimizer's slots of the previous `learn`."""
    if student.optimizer.get("kind") != optimizer["kind"]:
        raise ValueError(
            f"learn: warm_start cannot go on from {student.optimizer.get('kind')} with "
            f"{optimizer['kind']}; use the same optimizer"
        )
    try:
        engine.set_state(dict(student.state))
    except ValueError as error:
        raise ValueError(
            f"learn: warm_start cannot go on, since other layers learned before: {error}"
        ) from error


def _batches(
    footprint: Footprint,
    student: StudentFile,
    lesson: Lesson,
    options: LearnOptions,
    max_memory: int | None,
) -> Batches:
    # a batch of one has no batch statistics
    normed = any(node["op"] == "batch_norm" for node in student.nodes)
    least = 2 if normed and options.batch_norm == "batch" else 1
    wanted = min(options.batch_size, len(lesson.rows))
    if lesson.replay is not None:
        least = max(least, LEAST)
        wanted = min(options.batch_size, len(lesson.rows) + len(lesson.replay.images))
        if wanted < least:
            raise ValueError(
                f"learn: memory needs {least} images in a batch, a new one and a remembered one; "
                f"got batch_size={options.batch_size}"
            )
    if wanted < least:
        raise ValueError(
            f'learn: batch_norm="batch" needs {least} images in a batch, got batch_size='
            f"{options.batch_size} of {len(lesson.rows)} images"
        )
    return Batches(
        lesson.rows,
        training_batch(footprint, max_memory, wanted, least),
        options.seed,
        least=least,
        views=None if lesson.knowledge is None else lesson.knowledge.views,
        crop_padding=options.crop_padding,
        mirrored=options.flip,
        replay=lesson.replay,
    )


def _identity(
    student: StudentFile, lesson: Lesson, options: LearnOptions, batches: Batches, precision: str
) -> dict[str, str]:
    """Return what decides the result of a run, for its checkpoint; nothing without one.

    float32 is not named: runs of before there was another precision go on.
    """
    if options.checkpoint is None:
        return {}
    warm = weights_digest(student.state) if options.warm_start else "none"
    return {
        **options.fingerprint(),
        **lesson.digests(),
        "batch_size": str(batches.size),
        "structure": student.structure_digest,
        "classes": json.dumps(student.classes),
        "weights": weights_digest(student.arrays),
        "optimizer state": warm,
        **({} if precision == "float32" else {"precision": precision}),
    }


def _run_id(identity: Mapping[str, str]) -> str | None:
    if not identity:
        return None
    return hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()


def _already_learned(
    student: StudentFile, options: LearnOptions, identity: Mapping[str, str]
) -> Checkpoint | None:
    """Return the checkpoint of a finished run whose result is this student.

    A process that was killed after it had overwritten the student, but before it removed the
    checkpoint, comes back here with a student that has learned already.
    """
    path = options.checkpoint
    if not options.resume or path is None or not Path(path).exists() or not student.record:
        return None
    saved = read_checkpoint(path)
    differs = {name for name in identity if saved.identity.get(name) != identity[name]}
    if differs - {"weights", "optimizer state"} or saved.state.get("done") is not True:
        return None
    return saved if student.record[-1].get("run") == _run_id(saved.identity) else None


def _entry(
    lesson: Lesson,
    options: LearnOptions,
    layers: tuple[str, ...],
    identity: Mapping[str, str],
    result: LearnResult,
) -> dict[str, Any]:
    """Return the student's record of a run; without a time, so that equal runs give equal files."""
    more = {} if lesson.replay is None else {"memory": len(lesson.replay.images)}
    return {
        **more,
        "command": "learn",
        "run": _run_id(identity),
        "images": len(lesson.rows),
        "labels": lesson.labels is not None,
        "knowledge": None if lesson.knowledge is None else lesson.knowledge.digest,
        "trainable": list(layers),
        "seed": options.seed,
        "steps": result.steps,
        "best_step": result.best_step,
        "best_score": result.best_score,
    }
