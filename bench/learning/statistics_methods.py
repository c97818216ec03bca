"""Learning from statistics, on the engine: what a device keeps is sums, and no old image.

The base images are summed as the cloud does it, the validation images of base classes are held to
choose the form and the temperature. "category file" knows each new class by a file of its mean and
count alone, made from its images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyedge
from bench.learning.engine_methods import OnEngine, names
from bench.learning.features import pixels
from bench.learning.method import Start
from pyedge.data import ImageSet
from pyedge.student.expansion import Expand


class Statistics(OnEngine):
    """One forward pass over the new images, and one solve; `expand`: random features.

    Second moments are pooled: what the other methods keep does not let a class be forgotten either.
    """

    def __init__(self, *, expand: Expand = "auto") -> None:
        super().__init__()
        self._expand = expand

    def start(self, start: Start) -> None:
        super().start(start)
        held: Any = (pixels(start.val), names(start.val))
        known = [name in self.learner.classes for name in held[1]]
        held = held[0][known], [name for name, k in zip(held[1], known, strict=True) if k]
        student = pyedge.add_statistics(
            self.learner.student,
            pixels(start.base),
            names(start.base),
            held=held,
            expand=self._expand,
            seed=start.seed,
        )
        self.learner = pyedge.EdgeLearner(student, threads=1, precision=self.precision)

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self.add(images, classes)
        self.learner.learn(pixels(images), names(images), method="statistics", forgettable=False)

    @property
    def kept_bytes(self) -> int:
        known = self.learner.statistics
        return 0 if known is None else known.nbytes


class CategoryFiles(Statistics):
    """Each new class by its mean and count, 4 kB at the most for 498 features."""

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self._known = max(classes) + 1
        mine, given = names(images), pixels(images)
        with tempfile.TemporaryDirectory() as folder:
            for each in classes:
                name = images.classes[each]
                path = Path(folder) / f"{each}.category"
                rows = [i for i, label in enumerate(mine) if label == name]
                pyedge.make_category(self.learner, given[rows], name, path)
                self.learner.add_category(path)
