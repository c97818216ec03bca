"""Memory: a few images of each class that a device keeps, to learn from them again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import choice, kind_of, whole
from pyedge.classes.matching import listing, nearly, places, quoted
from pyedge.edge.answers import PREDICT_BATCH
from pyedge.edge.features import features_of
from pyedge.edge.herding import drawn, herded
from pyedge.edge.labelled import labelled_images
from pyedge.edge.memory_file import SETTINGS, Remembered, read_kept, write_kept
from pyedge.edge.students import AnyStudent, student_of
from pyedge.errors import FormatError
from pyedge.images.digests import image_digests
from pyedge.images.edge_images import EdgeImages
from pyedge.images.layout import Shape
from pyedge.keywords import keywords
from pyedge.student.file import StudentFile
from pyedge.warning import warn

WAYS = ("herding", "random")
MOST_A_CLASS = 1 << 20
MOST_SEED = (1 << 63) - 1


class Memory:
    """A few images of each class, with their class names, in the pixels that the student takes.

    `per_class`: the most images kept of a class. `max_bytes`: what all images may take together; if
    they would take more, every class keeps fewer, and the least important go first. `choose`:
    "herding" keeps the images whose mean feature is nearest to that of all images shown (iCaRL,
    Rebuffi et al. 2017), by the features of the student that they are added with; "random" keeps a
    random choice, which for one `seed` does not depend on the order of the images or on how they
    are divided over calls.

    uint8 pixels are kept as they are. float32 images, which are preprocessed already, are kept as
    float32, at four times the bytes; a memory holds only one of the two kinds.

    Raises ValueError for a number out of range or an unknown way to choose, TypeError for another
    type.
    """

    @keywords(title="Memory")
    def __init__(
        self,
        per_class: int = 20,
        *,
        choose: str = "herding",
        max_bytes: int | None = None,
        seed: int = 0,
    ) -> None:
        choice(choose, "Memory: choose", WAYS)
        self._per_class, self._max_bytes = _bounds(per_class, max_bytes, "Memory")
        self._choose = choose
        self._seed = whole(seed, "Memory: seed", 0, MOST_SEED)
        self._kept: dict[str, Remembered] = {}

    @classmethod
    def of(
        cls,
        kept: Mapping[str, Remembered],
        *,
        per_class: int = 20,
        choose: str = "herding",
        max_bytes: int | None = None,
        seed: int = 0,
    ) -> Memory:
        """Make a memory from what another one kept, as `read_memory` does."""
        memory = cls(per_class, choose=choose, max_bytes=max_bytes, seed=seed)
        memory._kept = {name: kept[name] for name in sorted(kept)}
        return memory

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __repr__(self) -> str:
        if not self._kept:
            return f"Memory(empty, up to {self._per_class} images a class)"
        least, most = min(self.counts.values()), max(self.counts.values())
        each = f"{most}" if least == most else f"{least} to {most}"
        kind = "" if self.dtype == np.uint8 else ", preprocessed (float32)"
        return (
            f"Memory({len(self)} images, {each} a class of {len(self._kept)}, {self.nbytes:,} "
            f"bytes{kind}, by {self._choose})"
        )

    @property
    def per_class(self) -> int:
        """The most images that are kept of a class."""
        return self._per_class

    @property
    def max_bytes(self) -> int | None:
        """The most bytes that the images may take together."""
        return self._max_bytes

    @property
    def choose(self) -> str:
        """How images are chosen: herding or random."""
        return self._choose

    @property
    def seed(self) -> int:
        """The seed of the random choice."""
        return self._seed

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it has images of, sorted."""
        return tuple(self._kept)

    @property
    def counts(self) -> dict[str, int]:
        """How many images of each class are kept."""
        return {name: len(each.images) for name, each in self._kept.items()}

    @property
    def seen(self) -> dict[str, int]:
        """From how many different images of each class it has chosen."""
        return {name: each.seen for name, each in self._kept.items()}

    @property
    def nbytes(self) -> int:
        """How many bytes the images take."""
        return sum(each.images.nbytes for each in self._kept.values())

    @property
    def input_shape(self) -> Shape | None:
        """Channels, height and width of the images; None while there are none."""
        first = self._first
        return None if first is None else (first.shape[1], first.shape[2], first.shape[3])

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype of the images, uint8 or float32; None while there are none."""
        return None if self._first is None else self._first.dtype

    @property
    def images(self) -> NDArray[Any]:
        """A copy of the images [n, c, h, w]: class by class, the most important first."""
        if not self._kept:
            return np.empty((0, 0, 0, 0), np.uint8)
        return np.concatenate([each.images for each in self._kept.values()])

    @property
    def labels(self) -> NDArray[np.str_]:
        """The name of each image's class, [n]."""
        return np.repeat(np.array(self.classes, np.str_), list(self.counts.values()))

    @keywords(title="Memory.add", renamed={"learner": "student"})
    def add(self, student: AnyStudent, images: Any, labels: Any = None) -> dict[str, int]:
        """Choose from labelled images and from those already kept of their classes.

        `student`: an EdgeLearner, a StudentFile or the path of one; the labels are of its classes,
        and its features decide for herding. images, labels: as for `EdgeLearner.evaluate`. An image
        given twice counts once. What a memory keeps of a class stands for all the images that it
        was chosen from. Returns how many images of each class are kept now; warns if `max_bytes`
        lets it keep fewer than before. Raises ValueError and TypeError for images that do not fit
        the student or the memory's images, or for too small a `max_bytes`; the memory is then
        unchanged.
        """
        student = student_of(student, "Memory.add")
        given = labelled_images(student, images, labels, "Memory.add")
        if not len(given):
            raise ValueError("Memory.add: images: wanted at least one, got none")
        assert given.labels is not None
        self._check_kind(given)
        kept = dict(self._kept)
        for label in np.unique(given.labels).tolist():
            name = self._name(student.classes[label])
            mine = given.subset(np.flatnonzero(given.labels == label))
            kept[name] = self._chosen(student, kept.get(name), mine)
        self._take(kept, "Memory.add")
        return self.counts

    @keywords(title="Memory.remove")
    def remove(self, name: str) -> None:
        """Forget the images of a class. Raises ValueError if it has none of that class."""
        found = self._name(name) if isinstance(name, str) else name
        if found not in self._kept:
            raise ValueError(
                f"Memory.remove: no image is of {quoted(name)}; it has {listing(self.classes)}"
                f"{nearly(name, self.classes) if isinstance(name, str) else ''}"
            )
        # a dict of its own: a copy of this memory may have the old one
        self._kept = {each: kept for each, kept in self._kept.items() if each != found}

    @keywords(title="Memory.limit")
    def limit(self, per_class: int | None = None, max_bytes: int | None = None) -> dict[str, int]:
        """Set other bounds (None: unchanged); return how many images of each class are kept now."""
        if per_class is None:
            per_class = self._per_class
        if max_bytes is None:
            max_bytes = self._max_bytes
        before = self._per_class, self._max_bytes
        self._per_class, self._max_bytes = _bounds(per_class, max_bytes, "Memory.limit")
        try:
            self._take(self._kept, "Memory.limit")
        except ValueError:
            self._per_class, self._max_bytes = before
            raise
        return self.counts

    @keywords(title="Memory.save")
    def save(self, path: str | PathLike[str]) -> None:
        """Write the memory atomically: `path` holds the old file or the new one. Raises OSError."""
        settings = {name: getattr(self, name) for name in SETTINGS}
        write_kept(path, settings, self._kept, self.images)

    @property
    def kept(self) -> dict[str, Remembered]:
        """What is kept of each class."""
        return dict(self._kept)

    @property
    def _first(self) -> NDArray[Any] | None:
        return next((each.images for each in self._kept.values()), None)

    def _name(self, name: str) -> str:
        """Return a class's name in the spelling that the memory has."""
        (place,) = places([name], self.classes)
        return name if place < 0 else self.classes[place]

    def _check_kind(self, given: EdgeImages) -> None:
        if self.input_shape not in (None, given.shape):
            assert self.input_shape is not None
            raise ValueError(
                f"Memory.add: images: wanted {list(self.input_shape)} c h w, as the memory has, "
                f"got {list(given.shape)}"
            )
        if self.dtype not in (None, given.array.dtype):
            raise TypeError(
                f"Memory.add: images are {given.array.dtype}, this memory's are {self.dtype}; "
                "uint8 pixels and preprocessed float32 images cannot be mixed"
            )
        if self.dtype is None and given.array.dtype == np.float32:
            warn(
                "Memory.add: images are float32, preprocessed already, and are kept as float32: "
                "four times the bytes of uint8 pixels"
            )

    def _chosen(
        self, student: StudentFile, before: Remembered | None, given: EdgeImages
    ) -> Remembered:
        """Choose from images of one class and from what is kept of it."""
        planar = given.planar(slice(None))
        old = planar[:0] if before is None else before.images
        pool = np.concatenate([old, planar])
        digests = image_digests(EdgeImages(pool, channels_last=False))
        # in the order of the digests, so that the order of the images is no matter
        _, rows = np.unique(digests.view("V16").ravel(), return_index=True)
        is_new = rows >= len(old)
        seen = int(is_new.sum()) + (0 if before is None else before.seen)
        if self._choose == "random":
            order = drawn(digests[rows], self._seed, self._per_class)
        else:
            there = EdgeImages(np.ascontiguousarray(pool[rows]), channels_last=False)
            weights = np.ones(len(rows))
            if before is not None:
                weights[~is_new] = before.seen / len(old)
            order = herded(
                features_of(student.engine(), there, PREDICT_BATCH), weights, self._per_class
            )
        return Remembered(pool[rows[order]], seen)

    def _take(self, kept: Mapping[str, Remembered], where: str) -> None:
        """Keep as many images of each class as the bounds allow."""
        before, most = max(self.counts.values(), default=0), self._most(kept, where)
        self._kept = {
            name: Remembered(_constant(kept[name].images[:most]), kept[name].seen)
            for name in sorted(kept)
        }
        if most < self._per_class and max(self.counts.values(), default=0) != before:
            warn(
                f"{where}: max_bytes={self._max_bytes:,} holds {most} images a class for "
                f"{len(kept)} classes, not {self._per_class}"
            )

    def _most(self, kept: Mapping[str, Remembered], where: str) -> int:
        """Return how many images of a class fit: the same for every class that has as many."""
        if self._max_bytes is None or not kept:
            return self._per_class
        size = math.prod(next(iter(kept.values())).images.shape[1:])
        size *= next(iter(kept.values())).images.itemsize
        counts = np.array([len(each.images) for each in kept.values()])
        most = min(self._per_class, int(counts.max()))
        while most and int(np.minimum(counts, most).sum()) * size > self._max_bytes:
            most -= 1
        if not most:
            raise ValueError(
                f"{where}: max_bytes={self._max_bytes:,} has no room for an image of each of "
                f"{len(kept)} classes, which take {len(kept) * size:,}"
            )
        if most == int(counts.max()):
            return self._per_class
        return most


@keywords()
def read_memory(path: str | PathLike[str]) -> Memory:
    """Read a memory that `Memory.save` wrote.

    The file may come from anybody: it is checked before memory is taken for its contents. Raises
    FormatError for a file that is truncated, altered, foreign or of a later version, OSError if it
    cannot be opened.
    """
    if not isinstance(path, (str, PathLike)):
        raise TypeError(f"read_memory: path: wanted a file's path, got {kind_of(path)}")
    settings, kept = read_kept(path)
    try:
        memory = Memory.of(kept, **settings)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: {error}") from error
    if any(len(each.images) > memory.per_class for each in kept.values()):
        raise FormatError(f"{path}: keeps more than per_class={memory.per_class} images of a class")
    if memory.max_bytes is not None and memory.nbytes > memory.max_bytes:
        raise FormatError(f"{path}: keeps more than max_bytes={memory.max_bytes:,}")
    return memory


def _bounds(per_class: Any, max_bytes: Any, where: str) -> tuple[int, int | None]:
    per_class = whole(per_class, f"{where}: per_class", 1, MOST_A_CLASS)
    if max_bytes is not None:
        max_bytes = whole(max_bytes, f"{where}: max_bytes", 1)
    return per_class, max_bytes


def _constant(images: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only copy of images."""
    own = np.array(images, order="C")
    own.flags.writeable = False
    return own
