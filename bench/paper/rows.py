"""What a table is: rows, each of which gives figures for a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.paper.slices import Slice
from bench.paper.workshop import Say, Workshop
from bench.paper.worlds import WORLDS

Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a table. group: the world, or what else the row stands under.

    figures: shares as per cent, counted by the name that the table's columns have. ours: it is no
    system of the paper.
    """

    group: str
    name: str
    figures: Callable[[int], Figures]
    ours: bool = False
    once: bool = False  # it does not depend on the seed


class Workshops:
    """The workshops of a scale's worlds, each made when it is first asked for."""

    def __init__(
        self, scale: str, cache: Path, data: Path, teachers: Path, slice_: Slice, say: Say
    ) -> None:
        self.scale = scale
        self._worlds = WORLDS[scale]
        self._made: dict[str, Workshop] = {}
        self._args = (cache / scale, data, teachers, slice_, say)

    def names(self) -> tuple[str, ...]:
        """Return the names of the worlds."""
        return tuple(self._worlds)

    def of(self, name: str) -> Workshop:
        """Return a world's workshop."""
        if name not in self._made:
            self._made[name] = Workshop(self._worlds[name], *self._args)
        return self._made[name]


def percent(share: float) -> float:
    """A share as per cent, in two digits."""
    return round(100 * share, 2)


def accuracies(figures: Mapping[str, Any]) -> Figures:
    """Return the figures of a training that every table of accuracies has."""
    return {
        "accuracy": percent(figures["accuracy"]),
        "last": percent(figures["last"]),
        "val": percent(figures["val"]),
        "parameters": figures["parameters"],
    }
