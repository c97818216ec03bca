"""EdgeLearner: a student that learns, predicts and is saved where there is no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge import kernels
from pyedge.arguments import whole
from pyedge.edge.answers import PREDICT_BATCH, Prediction, evaluation, logits_of, prediction
from pyedge.edge.growth import with_classes
from pyedge.edge.images import EdgeImages
from pyedge.edge.lesson import labelled_images, lesson
from pyedge.edge.memory import Footprint, largest_batch, needed_bytes
from pyedge.edge.options import LearnOptions, with_overrides
from pyedge.edge.result import LearnResult
from pyedge.edge.run import Score
from pyedge.edge.session import learn_lesson
from pyedge.edge.trainable import arrays_that_change, trainable_layers
from pyedge.evaluation import Evaluation
from pyedge.npy_archive import ArraySpec
from pyedge.student import StudentFile
from pyedge.student_checks import check_description
from pyedge.student_file import read_student, write_student


class EdgeLearner:
    """A student on the device, from a file of `pyedge.export` or a StudentFile.

    `threads`: how many threads it computes with (None: what pyedge.kernels is set to); results do
    not depend on it. `max_memory`: bytes that weights, optimizer and a batch may take together;
    batches are made smaller where they would take more.

    Raises FormatError for a file that is damaged or none, OSError where it cannot be opened,
    ValueError for a StudentFile that could not be written.
    """

    def __init__(
        self,
        student: str | PathLike[str] | StudentFile,
        *,
        threads: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        self._threads = None if threads is None else whole(threads, "EdgeLearner: threads", 1, 1024)
        self._max_memory = (
            None if max_memory is None else whole(max_memory, "EdgeLearner: max_memory", 1)
        )
        # what the learner is, between two calls; the engine has the same weights, and only while
        # `learn` runs others
        if isinstance(student, StudentFile):  # what no file could hold is told before it learns
            check_description(student, {n: ArraySpec.of(a) for n, a in student.arrays.items()})
            self._student = student
        else:
            self._student = read_student(student)
        with self._computing():
            self._engine = self._student.engine()

    def __repr__(self) -> str:
        return f"EdgeLearner({len(self.classes)} classes, {self._student.params} parameters)"

    @property
    def student(self) -> StudentFile:
        """The student as `save` would write it."""
        return self._student

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; the place of a name is its id."""
        return tuple(self._student.classes)

    @property
    def trainable(self) -> tuple[str, ...]:
        """The names of the layers that `learn` trains where it is not told others."""
        return trainable_layers(self._student, None)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return self._student.input_shape

    def memory(self, batch_size: int = 64, training: bool = True) -> int:
        """Return the bytes that a batch takes, weights and optimizer included.

        Training is that of `trainable` with frozen batch norm.
        """
        batch_size = whole(batch_size, "memory: batch_size", 1)
        with self._computing():
            return needed_bytes(self._footprint(), batch_size, training)

    def predict(self, images: Any, *, batch_size: int = PREDICT_BATCH) -> Prediction:
        """Return (ids int64 [n], probabilities float32 [n, classes]) of images.

        `images`: whatever EdgeImages.of takes: an array uint8 or float32 [n, c, h, w] or
        [n, h, w, c], a folder, an iterable. No images give no answers. Raises ValueError and
        TypeError for images that do not fit the student.
        """
        return prediction(self._logits(images, batch_size))

    def logits(self, images: Any, *, batch_size: int = PREDICT_BATCH) -> NDArray[np.float32]:
        """Return what the student's last layer gives, float32 [n, classes]; as `predict` else."""
        return self._logits(images, batch_size)

    def evaluate(
        self, images: Any, labels: Any = None, *, batch_size: int = PREDICT_BATCH
    ) -> Evaluation:
        """Classify labelled images: accuracy, by class, on old and new classes.

        `labels`: ids [n], names [n], or None where the images carry their own (a folder of class
        folders). Raises ValueError without images or labels, and for labels out of range.
        """
        given = labelled_images(self._student, images, labels, "evaluate")
        if not len(given):
            raise ValueError("evaluate: images is empty")
        assert given.labels is not None
        return evaluation(self._logits(given, batch_size), given.labels)

    def add_classes(self, names: Sequence[str]) -> None:
        """Append classes; the ids of those that are there stay. They are to be learned next.

        No answer changes by it: a new class begins with the mean of the old logits. Raises
        ValueError for a name that is there already, or that no file could hold; TypeError for what
        is no list of text.
        """
        grown = with_classes(self._student, names)
        if grown is not self._student:
            with self._computing():
                self._engine = grown.engine()
            self._student = grown

    def save(self, path: str | PathLike[str]) -> None:
        """Write the student with its optimizer's state, atomically: the old file or the new one.

        Raises OSError where that fails, on a full disk for example.
        """
        write_student(path, self._student)

    def learn(
        self,
        images: Any,
        labels: Any = None,
        *,
        knowledge: Any = None,
        val: Any = None,
        score: Score | None = None,
        options: LearnOptions | None = None,
        **overrides: Any,
    ) -> LearnResult:
        """Learn from images: from labels, from what a teacher left about them, or from both.

        `images`: whatever EdgeImages.of takes. `labels`: ids or names [n], True for those that the
        images carry, or None: the teacher alone tells (Sec. 4.2). `knowledge`: a Knowledge or its
        folder, made for this student; it may know more images than these, and its classes are
        matched by name. Without it J_1 and J_b are dropped, without labels J_3. With several views
        in the pack each step draws one for each image.

        `val`: (images, labels) to validate on, a folder, or a share of `images` that is held back;
        without labels the held-back ones count as right where the student answers as the teacher.
        `score` ranks evaluations (default: accuracy).

        Other keywords are fields of LearnOptions and go over `options`. The result depends on them,
        the student and the images alone, bit for bit, not on the number of threads.

        Raises ValueError and TypeError for what does not fit, DivergedError where a loss is not
        finite, FormatError for a checkpoint that is damaged or of another run, OSError where one
        cannot be written. Whatever is raised, the learner is then as it was before.
        """
        chosen = with_overrides(options, overrides)
        for name, value in (("patience", chosen.patience), ("score", score)):
            if value is not None and val is None:
                raise ValueError(f"learn: {name} needs val, to tell better from worse")
        found = lesson(self._student, images, labels, knowledge, val, chosen)
        with self._computing():
            self._student, result = learn_lesson(
                self._engine, self._student, found, chosen, self._max_memory, score
            )
        return result

    def _logits(self, images: Any, batch_size: int) -> NDArray[np.float32]:
        batch_size = whole(batch_size, "predict: batch_size", 1)
        given = EdgeImages.of(images, self._student.input_shape)
        with self._computing():
            size = largest_batch(self._footprint(), self._max_memory, batch_size, training=False)
            return logits_of(self._engine, given, size, len(self.classes))

    def _footprint(self) -> Footprint:
        nodes = self._student.nodes
        changing = arrays_that_change(nodes, self.trainable, "frozen")
        return Footprint.of(self._engine, self._student.arrays, changing)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Set the number of threads for the time of a computation."""
        if self._threads is None:
            yield
            return
        before = kernels.num_threads()
        kernels.set_num_threads(self._threads)
        try:
            yield
        finally:
            kernels.set_num_threads(before)
