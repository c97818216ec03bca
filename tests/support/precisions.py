"""What tests of half precision and of 8 bits share: paths that have them, stored answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from pyedge import kernels
from tests.support.vector_file import FOLDER, Vectors, read_vectors


def paths(kind: Callable[[], str | None]) -> tuple[list[str], list[str]]:
    """Name the instruction sets on which `kind` (`kernels.half_type`) names one, and the others."""
    before = kernels.isa()
    found: tuple[list[str], list[str]] = [], []
    for name in kernels.available_isas():
        kernels.set_isa(name)
        found[kind() is None].append(name)
    kernels.set_isa(before)
    return found


@cache
def vectors(family: str) -> Vectors:
    """Read a family's graph, images and answers in float64."""
    return read_vectors(FOLDER / f"{family}.npz")


def off(came: np.ndarray, wanted: np.ndarray) -> float:
    """Return the error in norm."""
    return float(np.linalg.norm(came - wanted) / np.linalg.norm(wanted))
