"""The paper's transfer for a new class (Sec. 4.1), as a method of `bench.learning`.

As written: the new class's images and labels, J_1, J_b and J_3, zeros at the end, batch
statistics, the last convolution of each group and the classifier; no old image. Of the evaluations
the best on validation images of all classes that have come is kept: they are frequent, because what
is old is lost within some steps. A device has no such images: `keep_best=False` ends at the last
step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

import pyedge
from bench.learning.features import ids
from bench.learning.method import Ids, Method, Pixels, Start
from pyedge.data import Augment, BatchLoader, ImageSet, standardise

_BATCH = 64
_EVALUATE_EVERY = 4
_PREDICT_BATCH = 256


class TransferAsWritten(Method):
    """A student that has had the teacher's rows for all classes from its base training on."""

    def __init__(self, *, steps: int = 64, lr: float = 0.002, keep_best: bool = True) -> None:
        self._steps, self._lr, self._keep_best = steps, lr, keep_best

    def start(self, start: Start) -> None:
        self._start, self._known = start, start.protocol.base
        self.student = start.made.torch_student()
        self._teacher = start.made.torch_teacher()

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self._known = max(classes) + 1
        start = self._start
        came = start.val.subset(ids(start.val) < self._known)
        pyedge.transfer(
            self.student,
            self._teacher,
            BatchLoader(images, _BATCH, augment=Augment(**start.recipe.augment), seed=start.seed),
            val=BatchLoader(came, _PREDICT_BATCH, shuffle=False),
            padding="end",
            trainable="last_conv",
            batch_norm="batch",
            steps=self._steps,
            lr=self._lr,
            eval_every=min(_EVALUATE_EVERY, self._steps),
            keep_best=self._keep_best,
            seed=start.seed,
            progress=False,
        )

    @torch.no_grad()
    def predict(self, images: Pixels) -> Ids:
        self.student.eval()
        found = [
            self.student(standardise(x))[:, : self._known].argmax(1)
            for x in torch.from_numpy(images).split(_PREDICT_BATCH)
        ]
        return torch.cat(found).numpy()

    @property
    def kept_bytes(self) -> int:
        return 0
