"""What an engine learns from in tests: labels, and a teacher's knowledge that is made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.engine_graphs import Graph

Maps = tuple[NDArray[Any], NDArray[np.float32] | None]  # [rows, h, w, c], and scales of the rows


@dataclass(frozen=True)
class Lesson:
    """What Engine.step takes beside images. maps, norms (squared): for each group its blocks."""

    labels: NDArray[np.int64] | None = None
    logits: NDArray[np.float32] | None = None
    maps: list[list[Maps]] | None = None
    map_rows: NDArray[np.int64] | None = None
    norms: list[NDArray[np.float64]] | None = None
    lambdas: tuple[float, float, float] = (1.0, 10.0, 1.0)
    norms_by_image: bool = False

    @property
    def keywords(self) -> dict[str, Any]:
        return dict(vars(self))


def make_images(graph: Graph, n: int, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return random.standard_normal((n, *graph.shapes[0])).astype(np.float32)


def make_lesson(
    graph: Graph,
    n: int,
    seed: int = 0,
    blocks: int = 2,
    dtype: str = "float32",
    spare_rows: int = 0,
) -> Lesson:
    """Draw a lesson for n images; with taps, it has `blocks` candidates a group.

    A block's channels have means, so that no cosine is near 0 and the choice is clear. With spare
    rows the maps have more rows than images, which are picked out of order.
    """
    random = np.random.default_rng([seed, 1])
    labels = random.integers(0, graph.classes, n)
    logits = random.standard_normal((n, graph.classes)).astype(np.float32)
    if not graph.taps:
        return Lesson(labels, logits)
    rows = random.permutation(n + spare_rows)[:n] if spare_rows else np.arange(n)
    maps, norms = [], []
    for tap in graph.taps:
        c, h, w = graph.shapes[tap]
        group = [_block(random, (n + spare_rows, h, w, c), dtype) for _ in range(blocks)]
        maps.append(group)
        # of the teacher's full width: more than that of the channels which the student faces
        norms.append(1.3 * np.stack([_squares(block, rows) for block in group]))
    return Lesson(labels, logits, maps, rows, norms)


def _block(random: np.random.Generator, shape: Sequence[int], dtype: str) -> Maps:
    maps = random.standard_normal(shape) + 2 * random.standard_normal(shape[-1])
    if dtype != "int8":
        return maps.astype(dtype), None
    scales = (np.abs(maps).max((1, 2, 3)) / 127).astype(np.float32)
    return np.rint(maps / scales[:, None, None, None]).astype(np.int8), scales


def _squares(block: Maps, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    maps, scales = block
    squares = np.square(maps[rows], dtype=np.float64).sum((1, 2, 3))
    return squares if scales is None else squares * np.square(scales[rows], dtype=np.float64)
