"""What a student's classifier reads, on the engine: the graph is cut in front of the classifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.data import ImageSet
from pyedge.student.file import StudentFile

_BATCH = 128

Floats = NDArray[np.float32]


class Features:
    """Compute a student's features, float32 [n, f], with one thread.

    weight [classes, f] and bias [classes] are the classifier's. Raises ValueError for a student
    with something between its classifier and its logits.
    """

    def __init__(self, student: StudentFile) -> None:
        if student.tail():
            raise ValueError("Features: the student has more than a classifier at its end")
        names = [node["name"] for node in student.nodes]
        node = student.nodes[names.index(student.classifier)]
        end = node["inputs"][0]
        nodes = student.nodes[: end + 1]
        used = {value for each in nodes for value in each.values() if isinstance(value, str)}
        arrays = {name: array for name, array in student.arrays.items() if name in used}
        headless = replace(
            student,
            nodes=nodes,
            arrays=arrays,
            output=end,
            taps=tuple(tap for tap in student.taps if tap <= end),
            trainable=(),
        )
        self.weight: Floats = student.arrays[node["weight"]]
        self.bias: Floats = student.arrays[node["bias"]]
        self._engine: Any = headless.engine()
        self._engine.set_threads(1)

    def of(self, images: NDArray[np.uint8]) -> Floats:
        """Return the features of images uint8 [n, c, h, w]."""
        found = np.empty((len(images), self.weight.shape[1]), np.float32)
        rows = np.arange(len(images), dtype=np.int64)
        for start in range(0, len(images), _BATCH):
            part = np.ascontiguousarray(rows[start : start + _BATCH])
            given = self._engine.predict(images, rows=part, channels_last=False)
            found[start : start + _BATCH] = given.reshape(len(part), -1)
        return found

    def logits(self, features: Floats) -> Floats:
        """Return what the student's own classifier makes of them."""
        return features @ self.weight.T + self.bias


def pixels(images: ImageSet) -> NDArray[np.uint8]:
    """Return the images of a set as the device has them."""
    return images.images.numpy()


def ids(images: ImageSet) -> NDArray[np.int64]:
    """Return the labels of a set."""
    return images.labels.numpy()
