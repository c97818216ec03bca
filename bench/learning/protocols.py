"""Class-incremental protocols: which classes come when, and the figures of what is known then.

Everything behind this module numbers classes by the order in which they come: the student's id of
a class is its place in `Protocol.order`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.learning.images import Parts
from pyedge.data import ImageSet

NAMES = ("9+1", "5x2")
_ORDER_SEED = 10  # of the class orders of 5x2, so that they are not the draws of anything else


@dataclass(frozen=True)
class Protocol:
    """experiences: the data set's ids of the classes that come together; the first is the base."""

    name: str
    seed: int
    experiences: tuple[tuple[int, ...], ...]

    @property
    def order(self) -> tuple[int, ...]:
        """The data set's ids in the order of the student's."""
        return tuple(each for experience in self.experiences for each in experience)

    @property
    def base(self) -> int:
        """How many classes the student knows at first."""
        return len(self.experiences[0])

    def places(self) -> list[range]:
        """Return the student's ids of each experience."""
        ends = np.cumsum([len(each) for each in self.experiences]).tolist()
        return [range(end - len(e), end) for end, e in zip(ends, self.experiences, strict=True)]

    def reordered(self, parts: Parts) -> Parts:
        """Number the classes of all parts by their order."""
        place = torch.empty(len(self.order), dtype=torch.int64)
        place[torch.tensor(self.order)] = torch.arange(len(self.order))
        names = [parts.train.classes[each] for each in self.order]
        return Parts(*(ImageSet(s.images, place[s.labels], names) for s in parts))


def make(name: str, classes: int, seed: int) -> Protocol:
    """Make a protocol: "9+1" (all but one, then that one, as in the demo) or "5x2" (pairs).

    Raises ValueError for another name, and for 5x2 of other than an even number of classes.
    """
    if name == "9+1":
        new = (classes - 1 - seed) % classes  # the demo's: another one for each seed
        base = tuple(each for each in range(classes) if each != new)
        return Protocol(name, seed, (base, (new,)))
    if name == "5x2":
        if classes % 2:
            raise ValueError(f"bench.learning: 5x2 wants an even number of classes, got {classes}")
        order = np.random.default_rng([_ORDER_SEED, seed]).permutation(classes).tolist()
        pairs = tuple((order[i], order[i + 1]) for i in range(0, classes, 2))
        return Protocol(name, seed, pairs)
    raise ValueError(f"bench.learning: protocol must be one of {', '.join(NAMES)}, got {name!r}")


class Record:
    """What a method answered after each experience, and the figures that are made of it.

    Only classes that have come are asked for, and only they can be answered.
    """

    def __init__(self, protocol: Protocol, labels: NDArray[np.int64]) -> None:
        self._places = protocol.places()
        self._labels = labels
        self._right: list[NDArray[np.float64]] = []  # after each experience, by class
        self._counts = np.bincount(labels, minlength=len(protocol.order))

    def asked(self, experience: int) -> NDArray[np.int64]:
        """Return the rows of the test images that are asked for after an experience."""
        return np.flatnonzero(self._labels < self._places[experience].stop)

    def add(self, answers: NDArray[np.int64]) -> None:
        """Add the answers to the rows of `asked` after one more experience.

        Raises ValueError for another number of answers.
        """
        rows = self.asked(len(self._right))
        if answers.shape != rows.shape:
            raise ValueError(f"Record.add: wanted {len(rows)} answers, got {list(answers.shape)}")
        wanted = self._labels[rows]
        hits = np.bincount(wanted[answers == wanted], minlength=len(self._counts))
        self._right.append(hits.astype(np.float64))

    def accuracy(self, experience: int, classes: Sequence[int]) -> float:
        """Return the share of right answers to images of some classes after an experience."""
        chosen = list(classes)
        return float(self._right[experience][chosen].sum() / self._counts[chosen].sum())

    def figures(self) -> dict[str, Any]:
        """Return the standard figures, in per cent.

        old, new: the classes before the last experience, and of it; old_before: the old ones before
        it. mean: of old and new; weighted: over all test images. average_incremental: mean over
        experiences of the accuracy over classes seen so far (Rebuffi et al. 2017). forgetting:
        mean over all experiences but the last of their best earlier accuracy minus that of the end
        (Chaudhry et al. 2018, eq. 3 and 4). Raises ValueError before the last experience.
        """
        last = len(self._places) - 1
        if len(self._right) != last + 1:
            raise ValueError(f"Record.figures: {len(self._right)} of {last + 1} experiences came")
        before = range(self._places[last].start)
        old, new = self.accuracy(last, before), self.accuracy(last, self._places[last])
        seen = [self.accuracy(t, range(p.stop)) for t, p in enumerate(self._places)]
        lost = [
            max(self.accuracy(t, place) for t in range(j, last)) - self.accuracy(last, place)
            for j, place in enumerate(self._places[:last])
        ]
        found = {
            "old": old,
            "old_before": self.accuracy(last - 1, before),
            "new": new,
            "mean": (old + new) / 2,
            "weighted": seen[-1],
            "average_incremental": float(np.mean(seen)),
            "forgetting": float(np.mean(lost)),
        }
        return {name: 100 * value for name, value in found.items()}
