"""EdgeLearner: a student that learns, predicts and is saved without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from pyedge import kernels
from pyedge.arguments import flag, kind_of, whole
from pyedge.edge.add_int8 import with_wider_scales
from pyedge.edge.analytic import after_steps, learn_statistics
from pyedge.edge.answers import (
    PREDICT_BATCH,
    OpenPrediction,
    Prediction,
    evaluation,
    logits_of,
    prediction,
)
from pyedge.edge.expected import warn_if_far_below
from pyedge.edge.features import features_and_logits
from pyedge.edge.footprint import Footprint, largest_batch, needed_bytes
from pyedge.edge.growth import with_classes
from pyedge.edge.labelled import labelled_images
from pyedge.edge.learn_options import LearnOptions, LearnSettings, with_overrides
from pyedge.edge.lesson import lesson, told_labels
from pyedge.edge.methods import chosen_method
from pyedge.edge.result import LearnResult
from pyedge.edge.run import Score
from pyedge.edge.solving import distances
from pyedge.edge.stepwise import learn_lesson, restore_engine
from pyedge.edge.summing import Summing
from pyedge.edge.teacher import Teacher, taught
from pyedge.edge.trainable import trainable_layers
from pyedge.edge.turns import Turns
from pyedge.files.npy_archive import ArraySpec
from pyedge.images.doubts import Doubts
from pyedge.images.edge_images import EdgeImages
from pyedge.keywords import deprecated, keywords
from pyedge.runs.evaluation import Evaluation, check_score
from pyedge.statistics.unknown import Distances
from pyedge.student.archive import read_student, write_student
from pyedge.student.checks import check_description
from pyedge.student.file import StudentFile

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pyedge.kernels import Engine

_MOST_THREADS = 1024


class EdgeLearner(Summing):
    """A student on the device, from a file of `pyedge.export` or a StudentFile.

    `threads`: how many threads it computes with (None: what pyedge.kernels is set to); results do
    not depend on it, and other learners are not affected. `max_memory`: bytes that weights,
    optimizer and a batch may take together; batches are made smaller if they would take more.
    `precision`: "half" computes convolutions in 16 bits (pyedge.kernels.half_type) where the
    instruction set has that: all of those that answers and statistics need, and in steps those that
    gradients take on their way to what learns. Logits differ by up to 0.01 in norm. "int8" answers
    in 8 bits (pyedge.kernels.int8_type), with the scales that `pyedge.export` and `pyedge.add_int8`
    put into a file; it learns in float32, and distances of unknown images are float32's
    (docs/int8.md).

    Any number of threads may call one learner. Calls take turns, so each answer is that of the
    learner before or after another call, never in between. Calls that come while `learn` runs are
    answered by the learner as it was before. For that a second engine is made at the first such
    call and kept until `learn` is done: it takes as much memory as the weights and a batch of
    predictions. If `max_memory` has no room for it, the call waits. A second engine is also made
    when two threads ask at once, unless `max_memory` is given; it is kept until the learner
    changes. `learn` and `add_classes` wait for each other. A call from inside another call of the
    same learner (from `score`, or from an iterable of images) raises RuntimeError if it would wait
    for ever.

    `copy.copy`, `copy.deepcopy` and `pickle` give an independent learner. It shares the read-only
    weights until one of the two learns; copies compute side by side. In the child of a fork a
    learner goes on as it was before any call that another thread had begun.

    Raises FormatError for a file that is damaged or not a student, OSError if it cannot be opened,
    ValueError for a StudentFile that could not be written, and for precision="half" and
    "int8" where the instruction set in use has none of it, or the student no scales.
    """

    @keywords(title="EdgeLearner")
    def __init__(
        self,
        student: str | PathLike[str] | StudentFile,
        *,
        threads: int | None = None,
        max_memory: int | None = None,
        precision: Literal["float32", "half", "int8"] = "float32",
    ) -> None:
        if threads is not None:
            threads = whole(threads, "EdgeLearner: threads", 1, _MOST_THREADS)
        if max_memory is not None:
            max_memory = whole(max_memory, "EdgeLearner: max_memory", 1)
        if not isinstance(student, (str, PathLike, StudentFile)):
            raise TypeError(
                "EdgeLearner: student: wanted the path of a file from pyedge.export, or a "
                f"StudentFile, got {kind_of(student)}"
            )
        _check_precision(precision)
        given = student.apart() if isinstance(student, StudentFile) else read_student(student)
        if precision == "int8" and not given.input_scales:
            raise ValueError(
                'EdgeLearner: precision: wanted "float32" or "half" for a student without scales '
                '(pyedge.export makes them with int8=images, and pyedge.add_int8), got "int8"'
            )
        self._max_memory = max_memory
        if isinstance(student, StudentFile):  # what no file could hold is told before it learns
            check_description(given, {n: ArraySpec.of(a) for n, a in given.arrays.items()})
        self._doubts = Doubts(given.preprocessing)
        self._turns = Turns(given, threads, max_memory, precision)
        self._shown: tuple[StudentFile, StudentFile] | None = None
        self._distances: tuple[StudentFile, Distances] | None = None
        _ = self._engine  # what cannot be run is refused here

    def __repr__(self) -> str:
        student = self._turns.student
        return f"EdgeLearner({len(student.classes)} classes, {student.params} parameters)"

    def __getstate__(self) -> dict[str, Any]:
        # of `copy` and `pickle`
        doubts = Doubts(self._turns.student.preprocessing)
        fresh = {"_turns": copy(self._turns), "_doubts": doubts}
        return {**vars(self), **fresh, "_shown": None, "_distances": None}

    @property
    def student(self) -> StudentFile:
        """A copy of the student as `save` would write it; its arrays are read-only."""
        student, shown = self._turns.student, self._shown
        if shown is None or shown[0] is not student:
            self._shown = shown = student, student.apart()
        return shown[1]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their ids."""
        return tuple(self._turns.student.classes)

    @property
    def trainable(self) -> tuple[str, ...]:
        """The names of the layers that `learn` trains unless it is given others."""
        return trainable_layers(self._turns.student, None)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return self._turns.student.input_shape

    @keywords()
    def memory_bytes(self, batch_size: int = 64, training: bool = True) -> int:
        """Return the bytes that a batch takes, weights and optimizer included.

        For training: with the layers of `trainable`, and with frozen batch norm.
        """
        batch_size = whole(batch_size, "memory_bytes: batch_size", 1)

        def told(student: StudentFile, engine: Engine, limit: int | None) -> int:
            return needed_bytes(Footprint.at_rest(engine, student), batch_size, training)

        return self._turns.answer("memory_bytes", told)

    def memory(self, batch_size: int = 64, training: bool = True) -> int:
        """Return `memory_bytes`; this is its old name."""
        deprecated("EdgeLearner: memory is called memory_bytes now")
        return self.memory_bytes(batch_size, training)

    @overload
    def predict(
        self, images: Any, *, batch_size: int = ..., unknown: Literal[False] = ...
    ) -> Prediction: ...

    @overload
    def predict(
        self, images: Any, *, batch_size: int = ..., unknown: Literal[True]
    ) -> OpenPrediction: ...

    @keywords()
    def predict(
        self, images: Any, *, batch_size: int = PREDICT_BATCH, unknown: bool = False
    ) -> Prediction | OpenPrediction:
        """Return (ids int64 [n], probabilities float32 [n, classes]) of images.

        With `unknown=True`, return an OpenPrediction, which also tells how far each image lies from
        everything that the student's statistics know, and whether that is too far to be any of it;
        ValueError for a student without statistics, or with stale ones.

        `images`: anything that EdgeImages.of takes: an array uint8 or float32 [n, c, h, w] or
        [n, h, w, c], an image file, a list of image files, a folder or an archive (in the order of
        the names; class folders one after another), an iterable. No images give no answers. Raises
        ValueError and TypeError for images that do not fit the student, FormatError for files that
        are not images; warns once of numbers that look neither like pixels nor like what the
        student's preprocessing makes of them.
        """
        if not unknown:
            return prediction(self._logits("predict", images, batch_size))
        logits, far, threshold = self._logits_and_distances("predict", images, batch_size)
        found = prediction(logits)
        return OpenPrediction(found.ids, found.probabilities, far, far > threshold)

    @keywords()
    def logits(self, images: Any, *, batch_size: int = PREDICT_BATCH) -> NDArray[np.float32]:
        """Return the student's logits, float32 [n, classes]; images as in `predict`.

        For a network that ends in a softmax or log-softmax, they are its input.
        """
        return self._logits("logits", images, batch_size)

    @keywords()
    def evaluate(
        self, images: Any, labels: Any = None, *, batch_size: int = PREDICT_BATCH
    ) -> Evaluation:
        """Classify labelled images: accuracy in all, by class, and on old and new classes.

        `labels`: ids [n], names [n], or None if the images carry their own (a folder of class
        folders). Warns where they are right far less often than the file records of the student's
        test, and says why it may be. Raises ValueError without images or labels, and for labels out
        of range.
        """
        student = self._turns.student
        given = labelled_images(student, images, labels, "evaluate")
        if not len(given):
            raise ValueError("evaluate: images: wanted at least one, got none")
        assert given.labels is not None
        found = evaluation(self._logits("evaluate", given, batch_size), given.labels)
        warn_if_far_below(student, found)
        return found

    @keywords()
    def add_classes(self, names: Sequence[str]) -> None:
        """Append classes, to be learned next; the ids of the present ones do not change.

        No answer changes: the logit of a new class begins as the mean of the old ones. Raises
        ValueError for a name that the student has already, or that a file could not hold; TypeError
        for anything but a list of text.
        """

        def grow() -> None:
            student = self._turns.student
            grown = with_classes(student, names)
            if grown is not student:
                self._turns.replace(grown)

        self._turns.change("add_classes", grow)

    @keywords()
    def save(self, path: str | PathLike[str]) -> None:
        """Write the student with its optimizer's state, atomically: the old file or the new one.

        Raises OSError if that fails, for example on a full disk.
        """
        write_student(self._turns.student, path)

    @keywords(fields=LearnOptions)
    def learn(
        self,
        images: Any,
        labels: Any = None,
        *,
        labelled: bool = False,
        method: str = "auto",
        knowledge: Any = None,
        cloud: Teacher | None = None,
        memory: Any = None,
        val: Any = None,
        score: Score | None = None,
        forgettable: bool = True,
        options: LearnOptions | None = None,
        **overrides: Unpack[LearnSettings],
    ) -> LearnResult:
        """Learn from images with labels, with a teacher's knowledge of them, or with both.

        `method`: "statistics" adds the features of the images to the student's statistics and
        solves for the classifier: one forward pass, and no old class is forgotten. Without labels
        the teacher's answers are the labels. New classes have second moments of their own, so that
        `forget` can take them out again, unless `forgettable` is False, which takes less room.
        "transfer" and "labels" take training steps, from `knowledge` and from labels; if these
        change the features, the statistics are made anew from `memory` and these images, or
        dropped, and a warning says so. "auto" is "statistics" if the student has them and nothing
        is given that only steps can use (`memory`, options of steps).

        `images`: anything that EdgeImages.of takes. `labels`: ids or names [n]; `labelled`: the
        images carry their own. Without either, the student learns from the teacher alone
        (Sec. 4.2). `knowledge`: a Knowledge or its folder, made for this student; it may know more
        images than these, and its classes are matched by name. Without it J_1 and J_b are dropped,
        without labels J_3. With several views in the pack each step draws one for each image.

        `memory`: a Memory, or its file, of old and new classes; each batch mixes its images with
        the new ones so that every class has an equal share. For them J_3 uses the labels, J_1 the
        logits of this student from before the call, and J_b nothing. A batch has `batch_size`
        images in all; an epoch is one pass over the new ones.

        `val`: (images, labels) to validate on, a folder, or a share of `images` that is held back;
        without labels a held-back image counts as right if student and teacher agree on it.
        `score` ranks evaluations (default: accuracy); it may call the learner, which answers as it
        was before. Arrays of images are not copied: leave them unchanged until this returns.

        Other keywords are fields of LearnOptions and override `options`. The result depends only on
        them, the student and the images, bit for bit, not on the number of threads.

        Raises ValueError and TypeError for arguments that do not fit, DivergedError if a loss is
        not finite, FormatError for a checkpoint that is damaged or of another run, OSError if one
        cannot be written. After any error the learner is as it was before.
        """
        chosen = with_overrides(options, dict(overrides))
        check_score(score, "learn")
        forgettable = flag(forgettable, "learn: forgettable")
        told = told_labels(labels, labelled)
        if cloud is not None and knowledge is not None:
            raise ValueError("learn: cloud: wanted None with knowledge, got both")
        for name, value in (("patience", chosen.patience), ("score", score)):
            if value is not None and val is None:
                raise ValueError(
                    f"learn: val: wanted images, which {name} needs to rank evaluations, got None"
                )

        def learned() -> LearnResult:
            way = chosen_method(
                method,
                self._turns.student,
                knowledge=knowledge if cloud is None else cloud,
                memory=memory,
                labels=told,
                options=options,
                overrides=overrides,
            )
            given, pack = images, knowledge
            if cloud is not None:
                given, pack = taught(self._turns.student, images, told, cloud, way)
                way = "labels" if pack is None and way == "transfer" else way
            found = lesson(self._turns.student, given, told, pack, val, chosen, memory)
            self._doubts.look(found.images, "learn")
            if found.validation is not None:
                self._doubts.look(found.validation.images, "learn: val")

            def teach(
                student: StudentFile, engine: Engine, takes: Callable[[int], None]
            ) -> tuple[StudentFile, LearnResult]:
                limit = self._max_memory
                if way == "statistics":
                    return learn_statistics(
                        engine, student, found, limit, score, takes, forgettable=forgettable
                    )
                after, result = learn_lesson(engine, student, found, chosen, limit, score, takes)
                after = with_wider_scales(engine, after, found, result.batch_size)
                return after_steps(engine, student, after, found), result

            return self._turns.lend(teach, restore_engine)

        return self._turns.change("learn", learned)

    @property
    def _engine(self) -> Engine:
        """The engine that answers."""
        return self._turns.answer("EdgeLearner", lambda student, engine, limit: engine)

    def _logits_and_distances(self, call: str, images: Any, batch_size: int) -> Any:
        batch_size = whole(batch_size, f"{call}: batch_size", 1)
        given = self._images(call, images)

        def answered(student: StudentFile, engine: Engine, limit: int | None) -> Any:
            measure = self._distances
            if measure is None or measure[0] is not student:
                self._distances = measure = student, distances(student, call)
            size = batch_size
            if limit is not None:
                footprint = Footprint.at_rest(engine, student)
                size = largest_batch(footprint, limit, batch_size, training=False)
            features, logits = features_and_logits(engine, given, size)
            return logits, measure[1].of(features), measure[1].threshold

        return self._turns.answer(call, answered)

    def _images(self, call: str, images: Any) -> EdgeImages:
        if isinstance(images, (list, tuple)) and not images:  # a detector that has found nothing
            images = np.empty((0, *self.input_shape), np.uint8)
        # before the wait: it may run others' code
        given = EdgeImages.of(
            images, self.input_shape, labelled=None, preprocessing=self._turns.student.preprocessing
        )
        self._doubts.look(given, call)
        return given

    def _logits(self, call: str, images: Any, batch_size: int) -> NDArray[np.float32]:
        batch_size = whole(batch_size, f"{call}: batch_size", 1)
        given = self._images(call, images)

        def answered(student: StudentFile, engine: Engine, limit: int | None) -> Any:
            size = batch_size
            if limit is not None:
                footprint = Footprint.at_rest(engine, student)
                size = largest_batch(footprint, limit, batch_size, training=False)
            return logits_of(engine, given, size, len(student.classes))

        return self._turns.answer(call, answered)


def _check_precision(precision: str) -> None:
    if precision not in ("float32", "half", "int8"):
        raise ValueError(
            f'EdgeLearner: precision: wanted "float32", "half" or "int8", got {precision!r}'
        )
    for name, lacks, there in (
        ("half", "half precision", kernels.half_type()),
        ("int8", "products of 8 bits", kernels.int8_type()),
    ):
        if precision == name and there is None:
            raise ValueError(
                f'EdgeLearner: precision: wanted "float32", since the {kernels.isa()} path of this '
                f'CPU has no {lacks}, got "{name}"'
            )
