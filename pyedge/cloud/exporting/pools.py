"""Pools: plain windows become a pool node, others two matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from pyedge.cloud.exporting.arguments import given, pair
from pyedge.cloud.exporting.registry import Named, computes, translates
from pyedge.cloud.graph.nodes import module_of, shape_of
from pyedge.student.operators import Node

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering

_AVERAGE = (
    *("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "divisor_override",
)
_WINDOW = ("kernel", "stride", "padding")  # of student files
_MAXIMUM = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


@dataclass(frozen=True)
class _Axis:
    """The windows of a pool along one side of the map: `out` of them on `size` lines."""

    size: int
    kernel: int
    stride: int
    padding: int
    out: int

    @property
    def plain(self) -> bool:
        """Tell whether the number of windows is that without ceil_mode."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1 == self.out

    @property
    def missing(self) -> int:
        """The lines beyond the map and its padding that the last window reaches."""
        end = (self.out - 1) * self.stride + self.kernel
        return max(0, end - self.size - 2 * self.padding)

    def means(self, count_padding: bool) -> NDArray[np.float64]:
        """Return the matrix [out, size] of means, with torch's rule for what a window counts."""
        matrix = np.zeros((self.out, self.size))
        for i in range(self.out):
            start = i * self.stride - self.padding
            end = min(start + self.kernel, self.size + self.padding)
            inside = slice(max(start, 0), min(end, self.size))
            count = end - start if count_padding else inside.stop - inside.start
            matrix[i, inside] = 1 / count
        return matrix


@translates(nn.AvgPool2d, "avg_pool2d")
def average(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.AvgPool2d, F.avg_pool2d."""
    found = _settings(lowering, node, _AVERAGE)
    down, across = _axes(lowering, node, source, found)
    builder, name = lowering.builder, lowering.name(node)
    divisor = found.get("divisor_override")
    counted = found.get("count_include_pad", True) or (down.padding == across.padding == 0)
    if counted and down.plain and across.plain:
        kernel, stride = (down.kernel, across.kernel), (down.stride, across.stride)
        padding = (down.padding, across.padding)
        index = builder.pool("avg_pool", name, source, kernel, stride, padding)
        if not divisor:
            return index
        return builder.affine(f"{name}.scale", index, kernel[0] * kernel[1] / divisor, 0.0)
    rows, columns = down.means(bool(counted)), across.means(bool(counted))
    if divisor:  # sums, then one division
        rows, columns = np.sign(rows) / divisor, np.sign(columns)
    return builder.resample(name, source, rows, columns)


@translates(nn.MaxPool2d, "max_pool2d")
def maximum(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """nn.MaxPool2d, F.max_pool2d."""
    found = _settings(lowering, node, _MAXIMUM)
    if found.get("return_indices"):
        return None
    down, across = _axes(lowering, node, source, found)
    builder, name = lowering.builder, lowering.name(node)
    if any(
        d > 1 < axis.kernel
        for d, axis in zip(pair(found.get("dilation", 1)), (down, across), strict=True)
    ):
        raise ValueError("its windows have gaps (dilation), which a student file does not know")
    if not (down.plain and across.plain):
        if not builder.is_never_negative(source):
            raise ValueError(
                "its last windows reach beyond the map (ceil_mode), which can be said only where "
                "no number is negative, as after ReLU"
            )
        # zeros change no maximum of numbers from zero up
        source = builder.shift(f"{name}.border", source, (0, down.missing), (0, across.missing))
    return builder.pool(
        "max_pool",
        name,
        source,
        (down.kernel, across.kernel),
        (down.stride, across.stride),
        (down.padding, across.padding),
    )


def _settings(lowering: Lowering, node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    module = module_of(node)
    if module is None:
        return given(lowering.constants, node, names)
    return {name: getattr(module, name) for name in names if hasattr(module, name)}


def _axes(
    lowering: Lowering, node: fx.Node, source: int, found: dict[str, Any]
) -> tuple[_Axis, _Axis]:
    kernel = pair(found["kernel_size"])
    # torch's functions take None or an empty tuple for "as large as the window"
    stride = pair(found["stride"]) if found.get("stride") else kernel
    padding = pair(found.get("padding") or 0)
    sizes = lowering.builder.shape(source)
    if len(sizes) != 3 or len(shape_of(node)) != 4:
        raise ValueError(f"it wants a map c h w, and reads {list(sizes)}")
    down, across = (
        _Axis(*each)
        for each in zip(sizes[1:], kernel, stride, padding, shape_of(node)[2:], strict=True)
    )
    return down, across


@translates(nn.AdaptiveAvgPool2d, "adaptive_avg_pool2d")
def adaptive_average(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d."""
    return _adaptive(lowering, node, source, "avg_pool")


@translates(nn.AdaptiveMaxPool2d, "adaptive_max_pool2d")
def adaptive_maximum(lowering: Lowering, node: fx.Node, source: int) -> int:
    """nn.AdaptiveMaxPool2d, F.adaptive_max_pool2d."""
    return _adaptive(lowering, node, source, "max_pool")


def _adaptive(lowering: Lowering, node: fx.Node, source: int, op: str) -> int:
    builder, name = lowering.builder, lowering.name(node)
    sizes, places = builder.shape(source)[1:], shape_of(node)[2:]
    if len(sizes) != 2 or len(places) != 2:
        raise ValueError("it does not read a map c h w")
    if all(size % out == 0 for size, out in zip(sizes, places, strict=True)):
        kernel = (sizes[0] // places[0], sizes[1] // places[1])
        return builder.pool(op, name, source, kernel, kernel)
    if op == "max_pool":
        raise ValueError(f"its windows differ in size, from {list(sizes)} to {list(places)}")
    rows, columns = (_adaptive_means(n, out) for n, out in zip(sizes, places, strict=True))
    return builder.resample(name, source, rows, columns)


def _adaptive_means(size: int, out: int) -> NDArray[np.float64]:
    matrix = np.zeros((out, size))
    for i in range(out):
        start, end = i * size // out, math.ceil((i + 1) * size / out)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


@computes("avg_pool")
def _avg_pool(node: Node, arrays: Named, x: Tensor) -> Tensor:
    kernel, stride, padding = (list(node[field]) for field in _WINDOW)
    return F.avg_pool2d(x, kernel, stride, padding)


@computes("max_pool", kinks=True, smooth="avg_pool")
def _max_pool(node: Node, arrays: Named, x: Tensor) -> Tensor:
    kernel, stride, padding = (list(node[field]) for field in _WINDOW)
    return F.max_pool2d(x, kernel, stride, padding)


@computes("global_avg_pool")
def _global_avg_pool(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)
