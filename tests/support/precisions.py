"""What tests of half precision and of 8 bits share: paths that have them, stored answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from pyedge import kernels
from pyedge.kernels import Engine
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


def check_threads_and_batches(engine: Engine, images: np.ndarray) -> None:
    """Hold answers to the same bits for any number of threads and any batch."""
    wanted = engine.predict(images)
    engine.set_threads(3)
    assert np.array_equal(engine.predict(images), wanted)
    one_by_one = [engine.predict(images[i : i + 1]) for i in range(len(images))]
    assert np.array_equal(np.concatenate(one_by_one), wanted)
