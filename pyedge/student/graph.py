"""The graph of a student as plain data: the fields of each operator, shapes, parameters, MACs.

A graph is a list of nodes, dicts in the order of execution; docs/format.md describes them. Whoever
walks the list with `GraphChecker` knows that every field, reference and shape is sound: ValueError
names the node and what is wrong. Nothing here looks at the values of an array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyedge.files.npy_archive import ArraySpec

Node = Mapping[str, Any]
Shape = tuple[int, ...]

LEARNS = ("conv2d", "linear", "batch_norm")  # operators whose weights can learn on the device
# the engine's own bounds, and a little less: a graph that passes here is one that it takes
_LARGEST_MAP = 1 << 28  # numbers in one image's map, 1 GiB of float32: more is no student
_LARGEST_SIDE = 1 << 15  # of an image
_MOST_CHANNELS = 1 << 20
_LARGEST_WINDOW = 1 << 10  # kernel, stride, padding, dilation
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
    """Check a graph and tell the shape, parameters and MACs of every node.

    Raises ValueError that names the node for a field, reference or shape that is not sound, and
    for an array that no node reads or two do.
    """
    if not isinstance(nodes, (list, tuple)) or not 0 < len(nodes) <= _MOST_NODES:
        raise ValueError(f"nodes must be a list of 1 to {_MOST_NODES} nodes")
    checker = GraphChecker(arrays, input_shape)
    for node in nodes:
        checker.add(node)
    unused = sorted(arrays.keys() - checker.used)
    if unused:
        raise ValueError(f"array {unused[0]!r} is read by no node")
    return checker.layers


class GraphChecker:
    """Walks a graph node by node; `layers` is what is known so far."""

    def __init__(self, arrays: Mapping[str, ArraySpec], input_shape: Sequence[int]) -> None:
        self.arrays = arrays
        self.used: set[str] = set()
        self.layers: list[Layer] = []
        self._names: set[str] = set()
        self._wide: set[int] = set()  # vectors made of maps of more than one pixel
        if not _whole_numbers(input_shape, 3, 1, _LARGEST_SIDE):
            raise ValueError(f"input_shape must be [c, h, w], not {_shown(input_shape)}")
        if math.prod(input_shape) > _LARGEST_MAP:
            raise ValueError(f"input_shape, {_shown(input_shape)}, is too large to be true")
        self._input_shape = tuple(input_shape)

    def add(self, node: Node) -> Layer:
        """Check one more node, and return what is known of it."""
        if not isinstance(node, Mapping) or not isinstance(node.get("op"), str):
            raise ValueError(f"node {len(self.layers)} must be an object with an op")
        name, op = node.get("name"), node["op"]
        if not good_name(name):
            raise ValueError(f"node {len(self.layers)} must have a name, not {_shown(name)}")
        where = f"node {name!r} ({_shown(op)})"
        if name in self._names:
            raise ValueError(f"{where}: two nodes have this name")
        if op not in _OPERATORS:
            raise ValueError(f"{where}: no operator of this name is known")
        operator = _OPERATORS[op]
        missing = sorted({"op", "name", "inputs", *operator.fields} ^ node.keys())
        if missing:
            kind = "has an unknown" if missing[0] in node else "lacks the"
            raise ValueError(f"{where} {kind} field {missing[0]!r}")
        used: list[str] = []
        try:
            shape, params, macs = operator.infer(_Fields(self, node, used), *self._sources(node))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if math.prod(shape) > _LARGEST_MAP or (op != "flatten" and shape[0] > _MOST_CHANNELS):
            raise ValueError(f"{where}: its output, {list(shape)}, is too large to be true")
        layer = Layer(str(name), op, shape, params, macs, tuple(used))
        if op != "linear" and len(shape) == 1 and self._is_wide(node["inputs"]):
            self._wide.add(len(self.layers))
        self._names.add(layer.name)
        self.used.update(used)
        self.layers.append(layer)
        return layer

    def _is_wide(self, inputs: Sequence[int]) -> bool:
        return any(i in self._wide or math.prod(self.layers[i].shape[1:]) > 1 for i in inputs)

    def _sources(self, node: Node) -> list[Shape]:
        wanted, inputs = _OPERATORS[node["op"]].inputs, node["inputs"]
        if wanted == 0 and self.layers:
            raise ValueError("the input must be the first node")
        if not _whole_numbers(inputs, wanted, 0) or any(i >= len(self.layers) for i in inputs):
            raise ValueError(
                f"inputs must be {wanted} number(s) of earlier nodes, not {_shown(inputs)}"
            )
        return [self.layers[i].shape for i in inputs]


@dataclass(frozen=True)
class _Fields:
    """The fields of one node, checked as they are asked for."""

    graph: GraphChecker
    node: Node
    used: list[str]

    @property
    def input_shape(self) -> Shape:
        return self.graph._input_shape

    def array(self, field: str, dimensions: int, dtype: str = "float32") -> Shape:
        name = self.node[field]
        spec = self.graph.arrays.get(name) if isinstance(name, str) else None
        if spec is None:
            raise ValueError(f"{field} must name an array, not {_shown(name)}")
        if name in self.graph.used or name in self.used:
            raise ValueError(f"{field} is the array {name!r}, which is read elsewhere already")
        if spec.dtype != dtype or len(spec.shape) != dimensions or 0 in spec.shape:
            raise ValueError(
                f"{field} must be {dtype} of {dimensions} dimension(s), {name!r} is {spec}"
            )
        self.used.append(name)
        return spec.shape

    def channels(self, fields: Sequence[str], count: int) -> int:
        """Check arrays with one value a channel; return how many values they have together."""
        for field in fields:
            if self.node[field] is None and field == "bias":
                continue
            (length,) = self.array(field, 1)
            if length != count:
                raise ValueError(f"{field} must have {count} values, not {length}")
        return sum(count for field in fields if self.node[field] is not None)

    def channels_of(self, source: Shape) -> int:
        """Return the channels of a map, or of a vector with one number for each."""
        if len(source) == 1 and self.graph._is_wide(self.node["inputs"]):
            raise ValueError(
                f"it works by channels; the input, {list(source)}, is a flat map of several pixels"
            )
        return source[0]

    def pair(self, field: str, least: int) -> tuple[int, int]:
        value = self.node[field]
        if not _whole_numbers(value, 2, least, _LARGEST_WINDOW):
            raise ValueError(
                f"{field} must be two whole numbers from {least} to {_LARGEST_WINDOW}, not "
                f"{_shown(value)}"
            )
        return value[0], value[1]

    def number(self, field: str, least: int) -> int:
        value = self.node[field]
        if not _whole_numbers([value], 1, least):
            raise ValueError(f"{field} must be a whole number from {least}, not {_shown(value)}")
        return value


def _input(fields: _Fields) -> tuple[Shape, int, int]:
    return fields.input_shape, 0, 0


def _conv2d(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    c, h, w = _map(source)
    o, inside, kh, kw = fields.array("weight", 4)
    groups = fields.number("groups", 1)
    if o % groups or c != inside * groups:
        raise ValueError(
            f"weight [{o}, {inside}, {kh}, {kw}] in {groups} group(s) does not fit {c} channels"
        )
    spread = fields.pair("dilation", 1)
    if max(kh, kw) > _LARGEST_WINDOW:
        raise ValueError(f"its windows, {kh}x{kw}, are too large")
    window = tuple((k - 1) * d + 1 for k, d in zip((kh, kw), spread, strict=True))
    size = _slide((h, w), window, fields.pair("stride", 1), fields.pair("padding", 0))
    weights = o * inside * kh * kw
    return (o, *size), weights + fields.channels(["bias"], o), weights * math.prod(size)


def _batch_norm(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    c = fields.channels_of(source)
    eps = fields.node["eps"]
    if type(eps) not in (int, float) or not 1e-30 <= eps <= 1e30:  # a float32 above zero
        raise ValueError(f"eps must be a number above 0, not {_shown(eps)}")
    params = fields.channels(["weight", "bias"], c)
    if fields.node["bias"] is None:
        raise ValueError("bias must name an array")
    fields.channels(["mean", "variance"], c)
    return source, params, 0


def _affine(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    if fields.node["bias"] is None:
        raise ValueError("bias must name an array")
    return source, fields.channels(["weight", "bias"], fields.channels_of(source)), 0


def _same(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    return source, 0, 0


def _add(fields: _Fields, one: Shape, other: Shape) -> tuple[Shape, int, int]:
    if one != other:
        raise ValueError(f"the inputs must have one shape, not {list(one)} and {list(other)}")
    return one, 0, 0


def _channel_pad(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    c = fields.channels_of(source)
    (length,) = fields.array("position", 1, "int32")
    if length != c:
        raise ValueError(f"position must have {c} values, not {length}")
    return (fields.number("channels", 1), *source[1:]), 0, 0


def _pool(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    c, h, w = _map(source)
    kernel, padding = fields.pair("kernel", 1), fields.pair("padding", 0)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError("padding must be at most half of kernel")
    return (c, *_slide((h, w), kernel, fields.pair("stride", 1), padding)), 0, 0


def _global_avg_pool(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    return (_map(source)[0], 1, 1), 0, 0


def _flatten(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    return (math.prod(_map(source)),), 0, 0


def _linear(fields: _Fields, source: Shape) -> tuple[Shape, int, int]:
    if len(source) != 1:
        raise ValueError(f"the input must be flattened, not {list(source)}")
    o, inside = fields.array("weight", 2)
    if inside != source[0]:
        raise ValueError(f"weight [{o}, {inside}] does not fit {source[0]} inputs")
    return (o,), o * inside + fields.channels(["bias"], o), o * inside


def _map(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"the input must be a map [c, h, w], not {list(shape)}")
    return shape


def _slide(size: Shape, window: Shape, stride: Shape, padding: Shape) -> Shape:
    """How often a window fits into a padded map, down and across."""
    places = []
    for length, one, step, pad in zip(size, window, stride, padding, strict=True):
        if one > length + 2 * pad:
            raise ValueError(f"a window of {one} does not fit a map of {length} padded by {pad}")
        places.append((length + 2 * pad - one) // step + 1)
    return tuple(places)


@dataclass(frozen=True)
class _Operator:
    inputs: int
    fields: tuple[str, ...]
    infer: Callable[..., tuple[Shape, int, int]]


_WINDOW = ("kernel", "stride", "padding")
_OPERATORS = {
    "input": _Operator(0, (), _input),
    "conv2d": _Operator(1, ("weight", "bias", "stride", "padding", "dilation", "groups"), _conv2d),
    "batch_norm": _Operator(1, ("weight", "bias", "mean", "variance", "eps"), _batch_norm),
    "affine": _Operator(1, ("weight", "bias"), _affine),
    "relu": _Operator(1, (), _same),
    "relu6": _Operator(1, (), _same),
    "add": _Operator(2, (), _add),
    "channel_pad": _Operator(1, ("position", "channels"), _channel_pad),
    "avg_pool": _Operator(1, _WINDOW, _pool),
    "max_pool": _Operator(1, _WINDOW, _pool),
    "global_avg_pool": _Operator(1, (), _global_avg_pool),
    "flatten": _Operator(1, (), _flatten),
    "linear": _Operator(1, ("weight", "bias"), _linear),
}


def good_name(name: Any) -> bool:
    """Is it text that a node, an array or a class can be called?"""
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _whole_numbers(value: Any, count: int, least: int, most: int = _MOST_CHANNELS) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == count
        and all(type(item) is int and least <= item <= most for item in value)
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
