"""The batches of a run: images, views and shifts, decided by seed, epoch and place.

Nothing here has a state, so a resumed run sees the batches that the interrupted one would have
seen. Order, shifts and flips are those of `pyedge.data.BatchLoader` with the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyedge.images.rows import Rows

if TYPE_CHECKING:
    from pyedge.edge.replay import Replay


@dataclass(frozen=True)
class Batch:
    """Which images a step takes, and what is done to each; None: nothing.

    rows int64 [n]: places of the images. views int64 [n]: which of the pack's views. shift int32
    [n, 2] (dy, dx) and flip bool [n] are the engine's: mirrored first, then read from that offset.
    remembered int64 [m]: places of a memory's images, which follow the others in the batch; their
    shift and flip follow too.
    """

    rows: Rows
    views: Rows | None
    shift: NDArray[np.int32] | None
    flip: NDArray[np.bool_] | None
    remembered: Rows | None = None


@dataclass(frozen=True)
class Batches:
    """The batches of every epoch over the images at `rows`.

    The last batch of an epoch has what remains, but is left out if it has fewer than `least`
    images (one image has no batch statistics). `views`: how many the pack has, or None without a
    pack. With `replay` a batch has `size` images in all, and an epoch ends when each new image has
    been in a batch.
    """

    rows: Rows
    size: int
    seed: int
    least: int = 1
    views: int | None = None
    crop_padding: int = 0
    mirrored: bool = False
    replay: Replay | None = None

    def __len__(self) -> int:
        whole, rest = divmod(len(self.rows), self._new)
        return whole + (rest >= (self.least if self.replay is None else 1))

    @property
    def _new(self) -> int:
        """How many new images a batch has."""
        return self.size if self.replay is None else self.replay.new_in(self.size)

    def epoch(self, epoch: int) -> Rows:
        """Return the places of all images in the order of an epoch."""
        return self.rows[np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))]

    def batch(self, order: Rows, epoch: int, index: int) -> Batch:
        """Return a batch of an epoch; `order` is what `epoch` returned for it."""
        rows = order[index * self._new :][: self._new]
        if self.replay is not None and len(order) < self._new:
            rows = np.resize(rows, self._new)  # few images, which have their share all the same
        random = np.random.default_rng([self.seed, epoch, index])
        again = None
        if self.replay is not None:
            again = self.replay.drawn(rows, self.size, (self.seed, epoch, index))
        if self.views is not None:
            views = random.integers(0, self.views, size=len(rows))
            return Batch(rows, views, None, None, again)
        if not (self.crop_padding or self.mirrored):
            return Batch(rows, None, None, None, again)
        n = len(rows) if again is None else self.size
        # the loader crops before it mirrors, so the engine, which mirrors first, reads the
        # mirrored image at the opposite offset
        shift = random.integers(0, 2 * self.crop_padding + 1, size=(n, 2)) - self.crop_padding
        flip = (random.random(n) < 0.5) & self.mirrored
        shift[flip, 1] *= -1
        return Batch(rows, None, shift.astype(np.int32), flip, again)


def hold_back(
    count: int, labels: NDArray[np.int64] | None, share: float, seed: int
) -> tuple[Rows, Rows]:
    """Split 0..count - 1 into (to learn from, held back); with labels, a share of each class.

    Raises ValueError if either part would be empty.
    """
    order = np.random.default_rng([seed]).permutation(count)
    groups = [order]
    if labels is not None:
        groups = [order[labels[order] == label] for label in np.unique(labels)]
    held = np.concatenate([part[: round(share * len(part))] for part in groups])
    if not 0 < len(held) < count:
        raise ValueError(f"learn: val={share:g} of {count} images holds back {len(held)} of them")
    back = np.sort(held).astype(np.int64)
    return np.setdiff1d(np.arange(count, dtype=np.int64), back), back
