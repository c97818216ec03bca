"""Statistics: for each class the count, the sum and the second moments of its features.

All are whole numbers (`grid`), so that the order of adding does not matter, and what was added can
be taken out. Second moments are kept for groups of classes: for a single class, which can then be
forgotten, or pooled for several. A class may also be known only by its count and its sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.statistics.grid import LARGEST, MOST_IMAGES, Sums, Values, packed_size, second_moments

HELD = 20  # images of a class whose features are kept, to calibrate with
# magnitude of a value where statistics of a coarser grid have been brought to this one
LARGEST_MERGED = LARGEST << 8


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums of the features that a student's classifier reads; see `pyedge.merge_statistics`.

    digest: of what computes the features (`pyedge.student.features.features_digest`). step: a
    feature is step times a whole number. classes: names, in the order of the rows. counts, sums:
    int64 [c] and [c, f], over all images of a class. described, described_sums: int64 [c] and
    [c, f], over those of them whose second moments are known. groups: int64 [c], the row of
    `moments`, int64 [g, f (f + 1) / 2], that has them; classes with the same row share it; -1:
    none. held, held_of, held_counted: int32 [h, f], int64 [h] and bool [h]: features of some
    images, the class of each, and whether the sums count it.
    """

    digest: str
    step: float
    classes: tuple[str, ...]
    counts: Sums
    sums: Sums
    described: Sums
    described_sums: Sums
    groups: Sums
    moments: Sums
    held: Values
    held_of: Sums
    held_counted: NDArray[np.bool_]

    def __repr__(self) -> str:
        images = f"{int(self.counts.sum())} images of {len(self.classes)} classes"
        return f"Statistics({images}, {self.features} features, {self.nbytes} bytes)"

    @property
    def features(self) -> int:
        """The number of features."""
        return self.sums.shape[1]

    @property
    def nbytes(self) -> int:
        """The bytes of all sums and of the held features."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    def apart(self) -> Statistics:
        """Return the same with read-only arrays; those that already are read-only are shared."""
        own: dict[str, Any] = {name: constant(array) for name, array in self.arrays().items()}
        return replace(self, **own)

    def count(self, name: str) -> int:
        """Return how many images of a class there are; 0 for an unknown class."""
        return int(self.counts[self.classes.index(name)]) if name in self.classes else 0

    def forgettable(self) -> tuple[str, ...]:
        """Return the classes whose second moments are kept apart from those of others."""
        shared = np.bincount(self.groups[self.groups >= 0], minlength=len(self.moments))
        return tuple(
            name
            for name, group in zip(self.classes, self.groups, strict=True)
            if group < 0 or shared[group] == 1
        )


ARRAYS = (
    "counts",
    "sums",
    "described",
    "described_sums",
    "groups",
    "moments",
    "held",
    "held_of",
    "held_counted",
)


def of_values(
    values: Values,
    labels: Sums,
    names: Sequence[str],
    *,
    digest: str,
    step: float,
    pooled: bool,
    held: int = HELD,
) -> Statistics:
    """Sum the values of images, int32 [n, f]; labels int64 [n] are places in `names`.

    `pooled`: keep the second moments of all classes together, else for each class. `held`: how many
    images of each class are kept.
    """
    used = np.unique(labels)
    classes = tuple(names[each] for each in used)
    features = values.shape[1]
    counts = np.array([(labels == each).sum() for each in used], dtype=np.int64)
    parts = [values[labels == each] for each in used]
    sums = np.array([part.sum(axis=0, dtype=np.int64) for part in parts], dtype=np.int64)
    sums = sums.reshape(len(used), features)
    if pooled:
        moments = second_moments(values)[None][: min(len(used), 1)]
        groups = np.zeros(len(used), dtype=np.int64)
    else:
        moments = np.array([second_moments(part) for part in parts], dtype=np.int64)
        groups = np.arange(len(used), dtype=np.int64)
    moments = moments.reshape(-1, packed_size(features))
    chosen = [part[chosen_to_hold(part, held)] for part in parts]
    owners = np.repeat(np.arange(len(used), dtype=np.int64), [len(each) for each in chosen])
    found = Statistics(
        digest=digest,
        step=step,
        classes=classes,
        counts=counts,
        sums=sums,
        described=counts.copy(),
        described_sums=sums.copy(),
        groups=groups,
        moments=moments,
        held=np.concatenate([np.empty((0, features), np.int32), *chosen]),
        held_of=owners,
        held_counted=np.ones(len(owners), dtype=bool),
    )
    check_room(found)
    return found


def held_alone(values: Values, labels: Sums, names: Sequence[str], whole: Statistics) -> Statistics:
    """Return the statistics holding these images instead of others, without counting them.

    They are of classes that `whole` knows. A student looks surer than it should on images that it
    was trained on, so others are held.
    """
    known = {name: i for i, name in enumerate(whole.classes)}
    owners = np.array([known[names[each]] for each in labels], dtype=np.int64)
    rows = [np.flatnonzero(owners == each) for each in range(len(known))]
    kept = np.concatenate([row[chosen_to_hold(values[row], HELD)] for row in rows])
    counted = np.zeros(len(kept), dtype=bool)
    return replace(whole, held=values[kept], held_of=owners[kept], held_counted=counted)


def chosen_to_hold(values: Values, count: int) -> Sums:
    """Choose which images are kept, as good as at random but independent of their order.

    The grid does not matter either: on a finer one the same features are multiples of these.
    """
    bits = np.bitwise_or.reduce(values, axis=1) if values.size else np.ones(len(values), np.int32)
    plain = values // np.maximum(bits & -bits, 1)[:, None]
    keys = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in plain]
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    return np.array(order[:count], dtype=np.int64)


def sums_digest(found: Statistics) -> str:
    """Return a SHA-256 that tells sums of different images apart, in hexadecimal."""
    digest = hashlib.sha256(f"{found.digest} {found.step!r} {found.classes!r}".encode())
    for array in found.arrays().values():
        digest.update(np.asarray(array, array.dtype.newbyteorder("<"), order="C").tobytes())
    return digest.hexdigest()


def check_room(found: Statistics) -> None:
    """Raise ValueError for more images than an int64 has room for."""
    images = int(found.counts.sum())
    if images > MOST_IMAGES:
        raise ValueError(
            f"statistics of {images:,} images: their sums have room for {MOST_IMAGES:,}"
        )


def constant(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only array: this one, if neither it nor what it views can be written to."""
    part: Any = array
    while isinstance(part, np.ndarray) and not part.flags.writeable:
        part = part.base
    if part is None or isinstance(part, bytes):
        return array
    own = np.array(array)
    own.flags.writeable = False
    return own
