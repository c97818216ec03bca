"""What a step cannot but compute: multiply-adds of the direct form, counted from the graph."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from bench.shared.students import BenchStudent


class Macs(NamedTuple):
    """Multiply-adds of one image in convolutions and linear layers, by phase."""

    forward: int
    input_gradients: int
    weight_gradients: int

    @property
    def total(self) -> int:
        return sum(self)


def count_macs(student: BenchStudent, trainable: Collection[str]) -> Macs:
    """Count one step's multiply-adds where the nodes `trainable` learn.

    A weight gradient is needed where the weight learns, an input gradient where something before
    it does: nothing is computed upstream of the first node that learns. Each costs as much as the
    node's forward. What is done element by element (batch norm, ReLU, losses) is not counted.
    """
    below = [False] * len(student.nodes)  # whether something learns up to and with this node
    forward = inputs = weights = 0
    for place, node in enumerate(student.nodes):
        wanted = any(below[source] for source in node["inputs"])
        learns = node["name"] in trainable
        below[place] = wanted or learns
        if node["op"] not in ("conv2d", "linear"):
            continue
        shape = student.arrays[node["weight"]].shape
        macs = math.prod(shape) * math.prod(student.shapes[place][1:])
        forward += macs
        inputs += macs * wanted
        weights += macs * learns
    return Macs(forward, inputs, weights)


def floor_ms(macs: Macs, batch: int, gflops: float) -> float:
    """The time of a batch at `gflops` (a multiply-add counts two)."""
    return 2 * macs.total * batch / gflops / 1e6
