"""The graph of a student as plain data: references, shapes, parameters, MACs.

A graph is a list of nodes, dicts in the order of execution; docs/format.md describes them.
`GraphChecker` walks the list and checks every field, reference and shape: ValueError names the node
and what is wrong. Nothing here looks at the values of an array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyedge.files.npy_archive import ArraySpec
from pyedge.student.operators import (
    MOST_CHANNELS,
    OPERATORS,
    Fields,
    Node,
    Shape,
    shown,
    whole_numbers,
)

LEARNS = ("conv2d", "linear", "batch_norm")  # operators whose weights can learn on the device
# the engine's own bounds, and a little less: a graph that passes here is one that it takes
_LARGEST_MAP = 1 << 28  # numbers in one image's map, 1 GiB of float32: more is no student
_LARGEST_SIDE = 1 << 15  # of an image
_MOST_NODES = 1 << 14
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Layer:
    """What is known of a node without running it.

    shape: of one image's output, (c, h, w), or (f,) after flatten and linear. params: weights and
    biases, running statistics not counted. macs: multiply-accumulates an image, of conv2d and
    linear alone. arrays: names of the arrays that it reads.
    """

    name: str
    op: str
    shape: Shape
    params: int
    macs: int
    arrays: tuple[str, ...]


def infer_layers(
    nodes: Sequence[Node], arrays: Mapping[str, ArraySpec], input_shape: Sequence[int]
) -> list[Layer]:
    """Check a graph; return the shape, parameters and MACs of every node.

    Raises ValueError, naming the node, for a field, reference or shape that is not sound, and for
    an array that no node or more than one reads.
    """
    if not isinstance(nodes, (list, tuple)) or not 0 < len(nodes) <= _MOST_NODES:
        raise ValueError(f"nodes: wanted a list of 1 to {_MOST_NODES} nodes, got {shown(nodes)}")
    checker = GraphChecker(arrays, input_shape)
    for node in nodes:
        checker.add(node)
    unused = sorted(arrays.keys() - checker.used)
    if unused:
        raise ValueError(f"array {unused[0]!r} is read by no node")
    return checker.layers


class GraphChecker:
    """Walk a graph node by node; `layers` is what is known so far."""

    def __init__(self, arrays: Mapping[str, ArraySpec], input_shape: Sequence[int]) -> None:
        self.arrays = arrays
        self.used: set[str] = set()
        self.layers: list[Layer] = []
        self._names: set[str] = set()
        self._wide: set[int] = set()  # vectors made of maps of more than one pixel
        if not whole_numbers(input_shape, 3, 1, _LARGEST_SIDE):
            raise ValueError(f"input_shape: wanted [c, h, w], got {shown(input_shape)}")
        if math.prod(input_shape) > _LARGEST_MAP:
            raise ValueError(f"input_shape, {shown(input_shape)}, is too large to be true")
        self._input_shape = tuple(input_shape)

    def add(self, node: Node) -> Layer:
        """Check one more node, and return what is known of it."""
        if not isinstance(node, Mapping) or not isinstance(node.get("op"), str):
            raise ValueError(
                f"node {len(self.layers)}: wanted an object with an op, got {shown(node)}"
            )
        name, op = node.get("name"), node["op"]
        if not good_name(name):
            raise ValueError(
                f"node {len(self.layers)}: name: wanted printable text, got {shown(name)}"
            )
        where = f"node {name!r} ({shown(op)})"
        if name in self._names:
            raise ValueError(f"{where}: two nodes have this name")
        if op not in OPERATORS:
            raise ValueError(f"{where}: no operator of this name is known")
        operator = OPERATORS[op]
        missing = sorted({"op", "name", "inputs", *operator.fields} ^ node.keys())
        if missing:
            kind = "has an unknown" if missing[0] in node else "lacks the"
            raise ValueError(f"{where} {kind} field {missing[0]!r}")
        used: list[str] = []
        try:
            sources = self._sources(node)
            wide = self._is_wide(node["inputs"])
            fields = Fields(node, self.arrays, self.used, used, wide, self._input_shape)
            shape, params, macs = operator.infer(fields, *sources)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if math.prod(shape) > _LARGEST_MAP or (op != "flatten" and shape[0] > MOST_CHANNELS):
            raise ValueError(f"{where}: its output, {list(shape)}, is too large to be true")
        layer = Layer(str(name), op, shape, params, macs, tuple(used))
        if op != "linear" and len(shape) == 1 and wide:
            self._wide.add(len(self.layers))
        self._names.add(layer.name)
        self.used.update(used)
        self.layers.append(layer)
        return layer

    def _is_wide(self, inputs: Sequence[int]) -> bool:
        return any(i in self._wide or math.prod(self.layers[i].shape[1:]) > 1 for i in inputs)

    def _sources(self, node: Node) -> list[Shape]:
        wanted, inputs = OPERATORS[node["op"]].inputs, node["inputs"]
        if wanted == 0 and self.layers:
            raise ValueError(f"wanted the input as first node, got it as node {len(self.layers)}")
        if not whole_numbers(inputs, wanted, 0) or any(i >= len(self.layers) for i in inputs):
            raise ValueError(
                f"inputs: wanted {wanted} number(s) of earlier nodes, got {shown(inputs)}"
            )
        return [self.layers[i].shape for i in inputs]


def good_name(name: Any) -> bool:
    """Tell whether this is text that can name a node, an array or a class."""
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()
