"""pyedge's own ways of learning, through EdgeLearner: what a device does.

before: nothing is learned; new classes begin with the mean of the old rows. labels: the labels of
the new images alone, the last convolutions (naive fine-tuning on the engine). transfer: the paper's
way without labels (Sec. 5.3), from a knowledge pack. The rows of "... teacher's rows" begin with
what the base training left of the teacher about classes that have not come (J_1 compares all
logits), as in the demo and in the paper; only classes that have come can be answered.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import pyedge
from bench.learning.features import ids, pixels
from bench.learning.method import Ids, Method, Pixels, Start, image_bytes, joined, softmax
from pyedge.data import Augment, ImageSet

STEPS, RATE, BATCH = 64, 0.01, 64


def names(images: ImageSet) -> list[str]:
    """Return the labels as text; digits' ids would be taken for other digits."""
    return [images.classes[label] for label in ids(images).tolist()]


class OnEngine(Method):
    """A learner with one thread; this class learns nothing."""

    precision: Literal["float32", "half", "int8"] = "float32"

    def __init__(self, *, teachers_rows: bool = False) -> None:
        self._all_rows = teachers_rows

    def start(self, start: Start) -> None:
        self._start = start
        self._known = start.protocol.base
        student = pyedge.read_student(start.made.whole if self._all_rows else start.made.base)
        if self.precision == "int8":  # these images tell how large its numbers are
            base = start.val.only_classes(range(start.protocol.base))
            student = pyedge.add_int8(student, pixels(base))
        self.learner = pyedge.EdgeLearner(student, threads=1, precision=self.precision)

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self.add(images, classes)

    def predict(self, images: Pixels) -> Ids:
        return self.learner.logits(images)[:, : self._known].argmax(1).astype(np.int64)

    def probabilities(self, images: Pixels) -> NDArray[np.float64]:
        return softmax(self.learner.logits(images)[:, : self._known])

    @property
    def kept_bytes(self) -> int:
        return 0

    def add(self, images: ImageSet, classes: Sequence[int]) -> None:
        """Make room for the new classes."""
        self._known = max(classes) + 1
        if not self._all_rows:
            self.learner.add_classes([images.classes[each] for each in classes])

    def options(self, steps: int, lr: float) -> dict[str, Any]:
        """The options of a run of the learner."""
        return {
            "steps": steps,
            "lr": lr,
            "batch_size": BATCH,
            "seed": self._start.seed,
            "progress": False,
        }

    def shifts(self) -> dict[str, Any]:
        """What the engine does to images that are learned from labels."""
        augment = self._start.recipe.augment
        return {"crop_padding": augment["crop_padding"], "flip": augment["flip"]}


class Labels(OnEngine):
    """Fine-tune the last convolutions on the labels of the new images."""

    def __init__(self, *, steps: int = STEPS, lr: float = RATE) -> None:
        super().__init__()
        self._steps, self._lr = steps, lr

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self.add(images, classes)
        options = self.options(self._steps, self._lr)
        self.learner.learn(pixels(images), names(images), **options, **self.shifts())


class Transfer(OnEngine):
    """Learn from what the teacher says of the new images, without labels."""

    def __init__(
        self, *, steps: int = STEPS, lr: float = RATE, teachers_rows: bool = False
    ) -> None:
        super().__init__(teachers_rows=teachers_rows)
        self._steps, self._lr = steps, lr

    def start(self, start: Start) -> None:
        super().start(start)
        self._teacher = start.made.torch_teacher()
        self._folder = tempfile.TemporaryDirectory(prefix="bench-learning-")
        self._packs = 0

    def prepare(self, images: ImageSet) -> None:
        self._packs += 1
        self._pack = pyedge.make_knowledge(
            self._start.made.base,
            self._teacher,
            pixels(images),
            Path(self._folder.name) / f"pack-{self._packs}",
            dtype="int8",
            views=2,
            augment=Augment(**self._start.recipe.augment),
            plain_view=False,
            classes=images.classes,
            seed=self._start.seed,
            progress=False,
        )
        self.sent_bytes += self._pack.nbytes

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self.add(images, classes)
        options = self.options(self._steps, self._lr)
        self.learner.learn(pixels(images), knowledge=self._pack, **options)


class RememberingLabels(Labels):
    """Fine-tune on labels with a memory of `per_class` images, found by herding, replayed."""

    def __init__(self, *, per_class: int, steps: int = STEPS, lr: float = RATE) -> None:
        super().__init__(steps=steps, lr=lr)
        self._per_class = per_class

    def start(self, start: Start) -> None:
        super().start(start)
        self._memory = pyedge.Memory(per_class=self._per_class)
        self.remember(start.base)

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self.add(images, classes)
        options = self.options(self._steps, self._lr)
        self.learner.learn(
            pixels(images), names(images), memory=self._memory, **options, **self.shifts()
        )
        self.remember(images)

    def remember(self, images: ImageSet) -> None:
        """Keep images of classes that have been learned."""
        self._memory.add(self.learner, pixels(images), names(images))

    @property
    def kept_bytes(self) -> int:
        return self._memory.nbytes


class JointLastConvolutions(OnEngine):
    """The bound: the last convolutions learn from the labels of all images of all times.

    It begins at the student's file each time, and keeps every image.
    """

    def __init__(self, *, steps: int, lr: float) -> None:
        super().__init__()
        self._steps, self._lr = steps, lr

    def start(self, start: Start) -> None:
        super().start(start)
        self._kept = start.base

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self._kept = joined([self._kept, images])
        self.learner = pyedge.EdgeLearner(self._start.made.base, threads=1)
        self.add(images, range(self._start.protocol.base, max(classes) + 1))
        options = self.options(self._steps, self._lr)
        self.learner.learn(pixels(self._kept), names(self._kept), **options, **self.shifts())

    @property
    def kept_bytes(self) -> int:
        return image_bytes(self._kept)
