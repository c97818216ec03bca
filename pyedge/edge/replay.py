"""Replay: every batch mixes a memory's images with new ones, so that all classes have a share.

The rule. A step takes `batch_size` images in all. Each class that the new images or the memory have
gets an equal share of it; a class that both have gets its share from both, in proportion to their
images. So the number of new images in a batch is batch_size times the mean over the classes of
new / (new + remembered), at least one, and at least one image is remembered. The remembered ones
are taken one after another, each from the class of which the batch has the fewest images, at random
among equals; which images of a class they are is drawn anew for each batch. If a class has fewer
images than its share asks for, they are in a batch more than once. Like the batches, all of this is
a function of seed, epoch and place. (Avalanche's balanced replay also fills a batch evenly from its
memory, but adds it to a batch of new images.)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyedge.classes.matching import absent, places, unknown
from pyedge.edge.masks import refuse_masked_labels
from pyedge.images.digests import image_digests, set_digest
from pyedge.images.edge_images import EdgeImages

if TYPE_CHECKING:
    from pyedge.edge.replay_memory import Memory
    from pyedge.student.file import StudentFile

Rows = NDArray[np.int64]
Labels = NDArray[np.int64]

LEAST = 2  # images in a batch: one new, one remembered


@dataclass(frozen=True, eq=False)
class Replay:
    """What is remembered: images [m, c, h, w] with labels int64 [m], the student's ids.

    new_labels int64 [n]: the class of each image of the lesson, or the teacher's answer without
    labels. share: the new images' share of a batch. answers float32 [m, classes]: the student's
    logits before it learned, None until they are known.
    """

    images: EdgeImages
    labels: Labels
    new_labels: Labels
    share: float
    answers: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, images: EdgeImages, labels: Labels, new_labels: Labels, rows: Rows) -> Replay:
        """Make it for a lesson that takes the new images at `rows`."""
        ends = max(int(labels.max()), int(new_labels.max())) + 1
        new = np.bincount(new_labels[rows], minlength=ends)
        both = new + np.bincount(labels, minlength=ends)
        here = both > 0
        return cls(images, labels, new_labels, float((new[here] / both[here]).mean()))

    def new_in(self, size: int) -> int:
        """Return how many of a batch's `size` images are new."""
        return min(max(round(size * self.share), 1), size - 1)

    def drawn(self, rows: Rows, size: int, seed: tuple[int, ...]) -> Rows:
        """Draw what fills a batch of the new images at `rows` up to `size`: places, int64 [m]."""
        random = np.random.default_rng([*seed, 1])
        classes = random.permutation(np.unique(self.labels))
        ends = max(int(classes.max()), int(self.new_labels.max())) + 1
        had = np.bincount(self.new_labels[rows], minlength=ends)[classes]
        wanted = np.zeros(len(classes), dtype=np.int64)
        for _ in range(size - len(rows)):
            wanted[(had + wanted).argmin()] += 1
        parts = []
        for label, count in zip(classes[wanted > 0], wanted[wanted > 0], strict=True):
            mine = np.flatnonzero(self.labels == label)
            rounds = -(-int(count) // len(mine))
            order = [random.permutation(mine) for _ in range(rounds)]  # all before one comes twice
            parts.append(np.concatenate(order)[:count])
        return np.concatenate(parts).astype(np.int64)

    def with_answers(self, logits: NDArray[np.float32]) -> Replay:
        """Take the student's logits before it learns: J_1's targets for remembered images.

        If the largest logit is not the label's, the two are exchanged, as in knowledge adjustment
        (Wen et al. 2019): a wrong answer is not taught again.
        """
        answers, rows = logits.copy(), np.arange(len(logits))
        said = logits.argmax(axis=1)
        answers[rows, said] = logits[rows, self.labels]
        answers[rows, self.labels] = logits[rows, said]
        return dataclasses.replace(self, answers=answers)

    def pixels(self, new: EdgeImages, rows: Rows, places: Rows) -> NDArray[Any]:
        """Return a batch's images [n + m, c, h, w]: the new ones at `rows` and remembered ones."""
        return np.concatenate([new.planar(rows), self.images.array[places]])

    def beside(self, told: dict[str, Any], places: Rows) -> dict[str, Any]:
        """Return what `Engine.step` is told of a batch to which the images at `places` are added.

        For these, J_3 has their labels, J_1 the student's own logits from before, and J_b leaves
        them out: they have no maps of the teacher's.
        """
        found, more = dict(told), len(places)
        if found.get("labels") is not None:
            found["labels"] = np.concatenate([found["labels"], self.labels[places]])
        if found.get("logits") is not None:
            assert self.answers is not None
            found["logits"] = np.concatenate(
                [found["logits"].astype(np.float32), self.answers[places]]
            )
        for name in ("shift", "flip"):  # of the pack's views
            if found.get(name) is not None:
                found[name] = np.concatenate(
                    [found[name], np.zeros((more, *found[name].shape[1:]), found[name].dtype)]
                )
        if found.get("maps") is not None:
            rows = found["map_rows"]
            found["map_rows"] = np.concatenate([rows, np.full(more, rows[0])])
            found["mapped"] = np.arange(len(rows) + more) < len(rows)
            found["norms"] = [
                np.concatenate([norms, np.zeros((len(norms), more))], axis=1)
                for norms in found["norms"]
            ]
        return found

    @property
    def digest(self) -> str:
        """Tell memories apart by what a run learns from them."""
        digest = hashlib.sha256(set_digest(image_digests(self.images)).encode())
        digest.update(json.dumps([self.labels.tolist(), self.new_labels.tolist()]).encode())
        return digest.hexdigest()


def remembered(
    memory: Memory | str | os.PathLike[str], student: StudentFile, new: EdgeImages
) -> tuple[EdgeImages, Labels]:
    """Return the images of a memory or its file, with the student's ids, to mix with new ones.

    Raises TypeError and ValueError that say what does not fit.
    """
    from pyedge.edge.replay_memory import Memory, read_memory

    if isinstance(memory, (str, os.PathLike)):
        memory = read_memory(memory)
    if not isinstance(memory, Memory):
        raise TypeError(
            f"learn: memory: wanted a Memory, or the path of one, got {type(memory).__name__}"
        )
    if not len(memory):
        raise ValueError(
            "learn: memory: wanted at least one image, got none; Memory.add puts some in"
        )
    if memory.input_shape != tuple(student.input_shape):
        raise ValueError(
            f"learn: memory has images of {list(memory.input_shape or ())} c h w, this student "
            f"takes {list(student.input_shape)}"
        )
    if memory.dtype != new.array.dtype:
        raise TypeError(
            f"learn: memory has {memory.dtype} images, and images are {new.array.dtype}; uint8 "
            "pixels and preprocessed float32 images cannot be mixed"
        )
    missing = absent(memory.classes, student.classes)
    if missing:
        raise ValueError(
            f"learn: memory has images of {unknown(missing, student.classes)}; add_classes adds "
            "classes, Memory.remove takes them out"
        )
    ids = np.array(places(memory.classes, student.classes), dtype=np.int64)
    labels = np.repeat(ids, list(memory.counts.values()))
    images = EdgeImages(memory.images, False, labels, tuple(student.classes))
    refuse_masked_labels(student, images)
    return images, labels
