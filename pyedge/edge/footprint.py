"""How many images fit into a limit of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from pyedge.edge.trainable import arrays_that_change, trainable_layers
from pyedge.warning import warn

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile


class Measured(Protocol):
    """What an Engine tells of its memory."""

    @property
    def weight_bytes(self) -> int: ...

    def memory(self, batch: int, training: bool) -> int: ...


@dataclass(frozen=True)
class Footprint:
    """An engine, and the copies of weights that the learner holds beside it."""

    engine: Measured
    copies: int  # bytes: what the student was before, and while it learns, what was best
    best: int

    @classmethod
    def of(
        cls, engine: Measured, arrays: Mapping[str, NDArray[Any]], changing: Sequence[str]
    ) -> Footprint:
        """Count the copies of a student's `arrays`, of which learning changes some."""
        copies = sum(array.nbytes for array in arrays.values())
        return cls(engine, copies, sum(arrays[name].nbytes for name in changing))

    @classmethod
    def at_rest(cls, engine: Measured, student: StudentFile) -> Footprint:
        """Count for an engine as the student's file makes it."""
        changing = arrays_that_change(student.nodes, trainable_layers(student, None), "frozen")
        return cls.of(engine, student.arrays, changing)

    @property
    def weight_bytes(self) -> int:
        """The bytes of all copies of the weights, and of the optimizer."""
        return self.engine.weight_bytes + self.copies

    def memory(self, batch: int, training: bool) -> int:
        """The bytes of a batch, and of what is kept while it is learned."""
        return self.engine.memory(batch, training) + (self.best if training else 0)


def needed_bytes(engine: Measured, batch: int, training: bool) -> int:
    """Return the bytes that a batch takes, weights and optimizer included."""
    return engine.memory(batch, training) + engine.weight_bytes


def largest_batch(
    engine: Measured, limit: int | None, wanted: int, *, training: bool, least: int = 1
) -> int:
    """Return the largest batch up to `wanted` that stays within `limit` bytes; None: no limit.

    Raises ValueError if not even `least` images fit.
    """
    if limit is None or needed_bytes(engine, wanted, training) <= limit:
        return wanted
    least = min(least, wanted)
    low, high = least, wanted  # low fits, high does not
    if needed_bytes(engine, least, training) > limit:
        raise ValueError(
            f"max_memory={limit:,} bytes hold no batch of {least}, which takes "
            f"{needed_bytes(engine, least, training):,} to {'learn' if training else 'predict'}"
        )
    while high - low > 1:
        middle = (low + high) // 2
        fits = needed_bytes(engine, middle, training) <= limit
        low, high = (middle, high) if fits else (low, middle)
    return low


def training_batch(engine: Measured, limit: int | None, wanted: int, least: int) -> int:
    """Return the batch size to learn with, and warn if it is smaller than wanted."""
    size = largest_batch(engine, limit, wanted, training=True, least=least)
    if size < wanted:
        warn(
            f"max_memory={limit:,} bytes hold batches of {size} images, not of {wanted}; learning "
            f"uses the smaller batches"
        )
    return size
