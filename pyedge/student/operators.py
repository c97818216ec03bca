"""The operators of a student's graph: each one's fields, and its output's shape.

docs/format.md describes them. An operator is a function of its checked fields and its inputs'
shapes, with `@operator` above it; docs/engine.md tells how to add one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyedge.files.npy_archive import ArraySpec

Node = Mapping[str, Any]
Shape = tuple[int, ...]
# the shape of one image's result, parameters, multiply-accumulates
Inferred = tuple[Shape, int, int]

# the engine's own bounds, and a little less: a graph that passes here is one that it takes
MOST_CHANNELS = 1 << 20
_LARGEST_WINDOW = 1 << 10  # kernel, stride, padding, dilation


@dataclass(frozen=True)
class Operator:
    """The number of inputs, the fields, and infer(fields, *shapes of the inputs)."""

    inputs: int
    fields: tuple[str, ...]
    infer: Callable[..., Inferred]


OPERATORS: dict[str, Operator] = {}


def operator(
    *names: str, inputs: int = 1, fields: Sequence[str] = ()
) -> Callable[[Callable[..., Inferred]], Callable[..., Inferred]]:
    """Register a function for the operators of these names, with these fields."""

    def register(infer: Callable[..., Inferred]) -> Callable[..., Inferred]:
        for name in names:
            OPERATORS[name] = Operator(inputs, tuple(fields), infer)
        return infer

    return register


@dataclass(frozen=True)
class Fields:
    """The fields of one node, checked when they are asked for.

    arrays: all arrays; taken: those that other nodes read; used: those that this one reads, which
    grows. wide: an input is a flat map of more than one pixel. input_shape: of an image, [c, h, w].
    """

    node: Node
    arrays: Mapping[str, ArraySpec]
    taken: set[str]
    used: list[str]
    wide: bool
    input_shape: Shape

    def array(self, field: str, dimensions: int, dtype: str = "float32") -> Shape:
        name = self.node[field]
        spec = self.arrays.get(name) if isinstance(name, str) else None
        if spec is None:
            raise ValueError(f"{field}: wanted the name of an array, got {shown(name)}")
        if name in self.taken or name in self.used:
            raise ValueError(f"{field} is the array {name!r}, which is read elsewhere already")
        if spec.dtype != dtype or len(spec.shape) != dimensions or 0 in spec.shape:
            raise ValueError(
                f"{field}: wanted {dtype} of {dimensions} dimension(s), got {name!r}, {spec}"
            )
        self.used.append(name)
        return spec.shape

    def channels(self, fields: Sequence[str], count: int) -> int:
        """Check that arrays have one value for each channel; return how many in all."""
        for field in fields:
            if self.node[field] is None and field == "bias":
                continue
            (length,) = self.array(field, 1)
            if length != count:
                raise ValueError(f"{field}: wanted {count} values, got {length}")
        return sum(count for field in fields if self.node[field] is not None)

    def channels_of(self, source: Shape) -> int:
        """Return the channels of a map, or of a vector with one number for each."""
        if len(source) == 1 and self.wide:
            raise ValueError(
                f"it works by channels; the input, {list(source)}, is a flat map of several pixels"
            )
        return source[0]

    def pair(self, field: str, least: int) -> tuple[int, int]:
        value = self.node[field]
        if not whole_numbers(value, 2, least, _LARGEST_WINDOW):
            raise ValueError(
                f"{field}: wanted two whole numbers from {least} to {_LARGEST_WINDOW}, got "
                f"{shown(value)}"
            )
        return value[0], value[1]

    def number(self, field: str, least: int) -> int:
        value = self.node[field]
        if not whole_numbers([value], 1, least):
            raise ValueError(f"{field}: wanted a whole number from {least}, got {shown(value)}")
        return value

    def real(self, field: str, least: float, most: float) -> float:
        value = self.node[field]
        if type(value) not in (int, float) or not least <= value <= most:
            raise ValueError(
                f"{field}: wanted a number from {least:g} to {most:g}, got {shown(value)}"
            )
        return float(value)


@operator("input", inputs=0)
def _input(fields: Fields) -> Inferred:
    return fields.input_shape, 0, 0


@operator("conv2d", fields=("weight", "bias", "stride", "padding", "dilation", "groups"))
def _conv2d(fields: Fields, source: Shape) -> Inferred:
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


@operator("batch_norm", fields=("weight", "bias", "mean", "variance", "eps"))
def _batch_norm(fields: Fields, source: Shape) -> Inferred:
    c = fields.channels_of(source)
    eps = fields.node["eps"]
    if type(eps) not in (int, float) or not 1e-30 <= eps <= 1e30:  # a float32 above zero
        raise ValueError(f"eps: wanted a number above 0, got {shown(eps)}")
    params = fields.channels(["weight", "bias"], c)
    if fields.node["bias"] is None:
        raise ValueError("bias: wanted the name of an array, got None")
    fields.channels(["mean", "variance"], c)
    return source, params, 0


@operator("affine", fields=("weight", "bias"))
def _affine(fields: Fields, source: Shape) -> Inferred:
    if fields.node["bias"] is None:
        raise ValueError("bias: wanted the name of an array, got None")
    return source, fields.channels(["weight", "bias"], fields.channels_of(source)), 0


# activations that have no numbers of their own
@operator(
    *("relu", "relu6", "sigmoid", "hard_sigmoid", "silu", "hard_swish", "gelu", "gelu_tanh", "mish")
)
def _same(fields: Fields, source: Shape) -> Inferred:
    return source, 0, 0


@operator("leaky_relu", fields=("slope",))
def _leaky_relu(fields: Fields, source: Shape) -> Inferred:
    fields.real("slope", -1e3, 1e3)
    return source, 0, 0


@operator("elu", fields=("alpha", "scale", "input_scale"))
def _elu(fields: Fields, source: Shape) -> Inferred:
    fields.real("alpha", -1e3, 1e3)
    fields.real("scale", -1e3, 1e3)
    fields.real("input_scale", 1e-3, 1e3)
    return source, 0, 0


@operator("prelu", fields=("weight",))
def _prelu(fields: Fields, source: Shape) -> Inferred:
    return source, fields.channels(["weight"], fields.channels_of(source)), 0


@operator("multiply", inputs=2)
def _multiply(fields: Fields, source: Shape, factor: Shape) -> Inferred:
    """Multiply a map by one of its shape, or by a number for each of its channels."""
    by_channel = len(source) == 3 and factor in ((source[0],), (source[0], 1, 1))
    if factor != source and not by_channel:
        raise ValueError(
            f"the second input: wanted {list(source)} or one number a channel, got {list(factor)}"
        )
    return source, 0, 0


@operator("add", inputs=2)
def _add(fields: Fields, one: Shape, other: Shape) -> Inferred:
    if one != other:
        raise ValueError(f"inputs: wanted one shape, got {list(one)} and {list(other)}")
    return one, 0, 0


@operator("channel_pad", fields=("position", "channels"))
def _channel_pad(fields: Fields, source: Shape) -> Inferred:
    c = fields.channels_of(source)
    (length,) = fields.array("position", 1, "int32")
    if length != c:
        raise ValueError(f"position: wanted {c} values, got {length}")
    return (fields.number("channels", 1), *source[1:]), 0, 0


@operator("avg_pool", "max_pool", fields=("kernel", "stride", "padding"))
def _pool(fields: Fields, source: Shape) -> Inferred:
    c, h, w = _map(source)
    kernel, padding = fields.pair("kernel", 1), fields.pair("padding", 0)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"padding: wanted at most half of kernel {kernel}, got {padding}")
    return (c, *_slide((h, w), kernel, fields.pair("stride", 1), padding)), 0, 0


@operator("global_avg_pool")
def _global_avg_pool(fields: Fields, source: Shape) -> Inferred:
    return (_map(source)[0], 1, 1), 0, 0


@operator("flatten")
def _flatten(fields: Fields, source: Shape) -> Inferred:
    return (math.prod(_map(source)),), 0, 0


@operator("linear", fields=("weight", "bias"))
def _linear(fields: Fields, source: Shape) -> Inferred:
    if len(source) != 1:
        raise ValueError(f"input: wanted a flattened one, got {list(source)}")
    o, inside = fields.array("weight", 2)
    if inside != source[0]:
        raise ValueError(f"weight [{o}, {inside}] does not fit {source[0]} inputs")
    return (o,), o * inside + fields.channels(["bias"], o), o * inside


def _map(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"input: wanted a map [c, h, w], got {list(shape)}")
    return shape


def _slide(size: Shape, window: Shape, stride: Shape, padding: Shape) -> Shape:
    """Return how often a window fits into a padded map, down and across."""
    places = []
    for length, one, step, pad in zip(size, window, stride, padding, strict=True):
        if one > length + 2 * pad:
            raise ValueError(f"a window of {one} does not fit a map of {length} padded by {pad}")
        places.append((length + 2 * pad - one) // step + 1)
    return tuple(places)


def whole_numbers(value: Any, count: int, least: int, most: int = MOST_CHANNELS) -> bool:
    """Tell whether this is a list of that many whole numbers between these."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == count
        and all(type(item) is int and least <= item <= most for item in value)
    )


def shown(value: Any) -> str:
    """Return a value as text for an error, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
