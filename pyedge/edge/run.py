"""One run of learning: steps, evaluations, checkpoints, and where a resumed run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.edge.answers import evaluation, learners_logits
from pyedge.edge.batches import Batches
from pyedge.edge.checkpoint import (
    Checkpoint,
    check_same_run,
    read_checkpoint,
    write_checkpoint,
)
from pyedge.edge.learn_options import LearnOptions
from pyedge.edge.lesson import Lesson
from pyedge.edge.progress import ProgressBar
from pyedge.edge.result import LearnResult, LearnState
from pyedge.errors import DivergedError, FormatError
from pyedge.files.atomic import find_target, remove_leftovers
from pyedge.images.rows import Rows
from pyedge.kernels import NotFiniteError
from pyedge.runs.evaluation import Evaluation, check_score, scored
from pyedge.runs.loss_window import Window
from pyedge.runs.run_options import learning_rate

if TYPE_CHECKING:
    from pyedge.kernels import Engine

Arrays = dict[str, NDArray[Any]]
Score = Callable[[Evaluation], float]


class Run:
    """Make an engine, whose trainable layers and optimizer are set, learn a lesson.

    `changing` names the arrays that learning changes, `identity` what decides the result.
    """

    def __init__(
        self,
        engine: Engine,
        lesson: Lesson,
        options: LearnOptions,
        *,
        batches: Batches,
        validation_batch: int,
        classes: int,
        changing: Sequence[str],
        identity: Mapping[str, str],
        score: Score | None,
    ) -> None:
        check_score(score, "learn")
        self._engine = engine
        self._lesson = lesson
        self._options = options
        self._batches = batches
        self._validation_batch = validation_batch
        self._classes = classes
        self._changing = tuple(changing)
        self._identity = identity
        self._score = score
        self._parts = lesson.parts(options)
        self._total = total_steps(options, batches)
        self._state = LearnState()
        self._best: Arrays = {}
        self._order: tuple[int, Rows] | None = None
        self._lr = 0.0

    def fit(self) -> LearnResult:
        """Learn to the end; the engine's weights are then the result."""
        path = self._options.checkpoint
        if path is not None:
            remove_leftovers(path)
            if self._options.resume and Path(path).exists():
                self._restore(read_checkpoint(path))
            if not self._state.done:
                find_target(path)  # raises now what writing would raise after a while
        self._bar = ProgressBar(
            "learn", self._total, self._state.step, shown=self._options.progress
        )
        try:
            while not self._state.done:
                self._step()
                self._after_step()
        finally:
            self._bar.close()
        for name, value in self._best.items():
            self._engine.set_array(name, value)
        self._check_weights()
        return self._state.result(self._batches.size)

    def _rate(self) -> float:
        epochs = math.ceil(self._total / len(self._batches))
        s = self._state
        return learning_rate(self._options, s.step, s.epoch, self._total, epochs)

    def _step(self) -> None:
        state, options, images = self._state, self._options, self._lesson.images
        replay = self._lesson.replay
        began = time.perf_counter()
        if self._order is None or self._order[0] != state.epoch:
            self._order = state.epoch, self._batches.epoch(state.epoch)
        batch = self._batches.batch(self._order[1], state.epoch, state.batch)
        array, rows, channels_last = images.array, batch.rows, images.channels_last
        known = self._lesson.known(batch.rows, batch.views, options)
        if replay is not None and batch.remembered is not None:
            array = replay.pixels(images, batch.rows, batch.remembered)
            rows, channels_last = np.arange(len(array)), False
            known = replay.beside(known, batch.remembered)
        told: dict[str, Any] = {"shift": batch.shift, "flip": batch.flip, **known}
        try:
            found = self._engine.step(
                array,
                rows,
                channels_last=channels_last,
                lambdas=options.lambdas,
                norms_by_image=options.norms == "image",
                **told,
            )
        except NotFiniteError as error:
            raise self._diverged(error.quantity) from error
        self._lr = self._rate()
        self._engine.update(self._lr)
        state.step += 1
        state.batch += 1
        values = {name: found[name] for name in (*self._parts, "loss")}
        state.window.add(values, found["pairs"])
        state.seconds += time.perf_counter() - began
        self._bar.update(state.step, values, found["pairs"])

    def _after_step(self) -> None:
        """Validate and write a checkpoint where one is due; every part of the state counts."""
        state, options = self._state, self._options
        last = state.step == self._total
        epoch = state.epoch + 1
        if state.batch == len(self._batches):
            state.epoch, state.batch = epoch, 0
        at = state.step % options.eval_every if options.eval_every else state.batch
        due = last or at == 0
        if due:
            self._validate(epoch)
        state.done = last or state.stopped_early
        if options.checkpoint is not None and (due or state.step % options.checkpoint_every == 0):
            self._save()

    def _validate(self, epoch: int) -> None:
        """Close a row of the history, and keep the weights if they are the best."""
        state, held = self._state, self._lesson.validation
        row = {
            "step": state.step,
            "epoch": epoch,
            "lr": self._lr,
            "seconds": state.seconds,
            **state.window.row(),
        }
        state.window = Window()
        score = None
        if held is not None:
            size = self._validation_batch
            logits = learners_logits(self._engine, held.images, size, self._classes, held.rows)
            found = evaluation(logits, held.labels)
            score = scored(self._score, found, "learn")
            row.update(val_accuracy=found.accuracy, val_loss=found.loss, val_score=score)
            self._bar.validated(found.accuracy, score)
        state.history.append(row)
        if state.judge(score, epoch, self._options) and held and self._options.keep_best:
            self._best = self.weights()

    def weights(self) -> Arrays:
        """Copy the arrays that learning changes."""
        return {name: np.array(self._engine.array(name)) for name in self._changing}

    def _check_weights(self) -> None:
        for name in self._changing:
            if not np.isfinite(self._engine.array(name)).all():
                raise self._diverged(f"array {name!r}")

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(
            f"learn: {what} was not finite at step {self._state.step + 1} of {self._total}; the "
            "learner is as it was before. Try a smaller lr, some warmup_steps or a smaller clip"
        )

    def _save(self) -> None:
        self._check_weights()
        assert self._options.checkpoint is not None
        write_checkpoint(
            self._options.checkpoint,
            Checkpoint(
                self._identity,
                self._state.to_dict(),
                self.weights(),
                self._best,
                self._engine.state(),
            ),
        )

    def _restore(self, saved: Checkpoint) -> None:
        path = self._options.checkpoint
        assert path is not None
        check_same_run(path, saved.identity, self._identity)
        try:
            self._state = LearnState.from_dict(saved.state, self._total, len(self._batches))
            if saved.now.keys() != set(self._changing) or not (
                saved.best.keys() <= set(self._changing)
            ):
                raise ValueError("the arrays are others")
            for name, value in saved.now.items():
                self._engine.set_array(name, value)
            self._engine.set_state(dict(saved.optimizer))
            self._best = dict(saved.best)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise FormatError(f"{path}: the checkpoint does not fit this student") from error


def total_steps(options: LearnOptions, batches: Batches) -> int:
    """Return the length of a run."""
    return options.epochs * len(batches) if options.steps is None else options.steps


def result_of(state: Mapping[str, Any], options: LearnOptions, batches: Batches) -> LearnResult:
    """Return the result of a finished run from its checkpoint's state."""
    try:
        found = LearnState.from_dict(state, total_steps(options, batches), len(batches))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"{options.checkpoint}: the checkpoint's state is damaged") from error
    return found.result(batches.size)
