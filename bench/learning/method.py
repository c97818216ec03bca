"""What a method of learning is, to this benchmark; `bench.learning.registry` lists them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.learning.protocols import Protocol
from bench.learning.recipes import Recipe
from bench.learning.students import Made
from pyedge.data import ImageSet

Pixels = NDArray[np.uint8]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Start:
    """What every method begins with. All ids are the protocol's.

    base: the device's images of the base classes. val: held-back images of every class, for choices
    alone; a method may look at those of classes that have come.
    """

    made: Made
    base: ImageSet
    val: ImageSet

    @property
    def protocol(self) -> Protocol:
        """Which classes come when."""
        return self.made.protocol

    @property
    def recipe(self) -> Recipe:
        """How the student was made."""
        return self.made.recipe

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.protocol.seed


class Method(ABC):
    """Learn class after class: `start`, then `experience` for each, `predict` in between.

    `prepare` is the cloud's work before an experience, which is not timed; `sent_bytes` is what it
    sends to the device, images left out. `kept_bytes` is what the device keeps beside the student
    between experiences.
    """

    sent_bytes: int = 0

    @abstractmethod
    def start(self, start: Start) -> None:
        """Take the student, and what the base images give."""

    def prepare(self, images: ImageSet) -> None:  # noqa: B027
        """Do what the cloud does before an experience."""

    @abstractmethod
    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        """Learn from labelled images of new classes, whose ids are `classes`."""

    @abstractmethod
    def predict(self, images: Pixels) -> Ids:
        """Tell the classes of images uint8 [n, c, h, w], among those that have come."""

    def probabilities(self, images: Pixels) -> NDArray[np.float64] | None:
        """Return how sure it is of each class that has come, [n, classes]; None: it cannot tell."""
        return None

    @property
    @abstractmethod
    def kept_bytes(self) -> int:
        """Bytes on the device beside the student, between experiences."""


@dataclass(frozen=True)
class Entry:
    """A method of the table: make(**settings) for each setting; the best on val is reported.

    seen_teacher: it needs a teacher that knows every class.
    """

    make: Callable[..., Method]
    settings: Sequence[Mapping[str, Any]] = field(default_factory=lambda: ({},))
    seen_teacher: bool = False


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Make probabilities of logits [n, classes]."""
    found = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float64)


def image_bytes(images: ImageSet) -> int:
    """The bytes of images as uint8, and a byte for each label."""
    return images.images.numel() + len(images)


def joined(sets: Sequence[ImageSet]) -> ImageSet:
    """Put image sets of the same classes into one."""
    import torch

    return ImageSet(
        torch.cat([each.images for each in sets]),
        torch.cat([each.labels for each in sets]),
        sets[0].classes,
    )
