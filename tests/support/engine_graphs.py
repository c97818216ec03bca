"""Small graphs for tests of the edge engine, built node by node with random weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.kernels import Engine
from pyedge.student.builder import GraphBuilder


class Graph:
    """A network as the engine takes it. shapes: of each node's result for one image."""

    def __init__(
        self,
        nodes: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, NDArray[Any]],
        shapes: Sequence[tuple[int, ...]],
        taps: Sequence[int] = (),
    ) -> None:
        self.nodes = [dict(node) for node in nodes]
        self.arrays = dict(arrays)
        self.shapes = list(shapes)
        self.taps = list(taps)

    @property
    def x(self) -> int:
        """The last node, whose result are the logits."""
        return len(self.nodes) - 1

    @property
    def classes(self) -> int:
        return self.shapes[-1][0]

    def engine(self, trainable: Sequence[str] = (), **optimizer: Any) -> Engine:
        engine = Engine(self.nodes, self.arrays, list(self.shapes[0]), self.x, self.taps)
        engine.set_trainable(list(trainable))
        engine.set_optimizer(**optimizer)
        return engine

    def learned(self, trainable: Sequence[str]) -> list[str]:
        """Name the arrays that learn when the nodes `trainable` do."""
        nodes = [node for node in self.nodes if node["name"] in trainable]
        return [node[key] for node in nodes for key in ("weight", "bias") if node[key] is not None]

    def with_weights(self) -> list[str]:
        """Name every node that could learn."""
        return [node["name"] for node in self.nodes if "bias" in node]


class GraphMaker(Graph):
    """Adds nodes with random weights, the last one's reader if not told. A node is its index."""

    def __init__(self, input_shape: Sequence[int], seed: int = 0) -> None:
        self._builder = GraphBuilder(input_shape)
        super().__init__([], {}, [tuple(input_shape)])
        self.nodes, self.arrays = self._builder.nodes, self._builder.arrays
        self.random = np.random.default_rng(seed)

    def add(
        self, op: str, inputs: Sequence[int] | None = None, name: str | None = None, **fields: Any
    ) -> int:
        """Add a node; an array among its fields gets the node's name and the field's."""
        inputs = [self.x] if inputs is None else list(inputs)
        name = f"{op}_{len(self.nodes)}" if name is None else name
        self.shapes.append(self._builder.shape(self._builder.add(op, name, inputs, **fields)))
        return self.x

    def values(
        self, *shape: int, mean: float = 0.0, scale: float = 1.0, positive: bool = False
    ) -> NDArray[np.float32]:
        values = mean + scale * self.random.standard_normal(shape)
        return (np.abs(values) + 0.1 if positive else values).astype(np.float32)

    def conv(
        self,
        channels: int,
        kernel: Sequence[int] = (3, 3),
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
        bias: bool = False,
        name: str | None = None,
        source: int | None = None,
    ) -> int:
        source = self.x if source is None else source
        inside = self.shapes[source][0] // groups
        spread = math.sqrt(2 / (inside * kernel[0] * kernel[1]))
        weight = self.values(channels, inside, *kernel, scale=spread)
        return self.add(
            "conv2d", [source], name, weight=weight,
            bias=self.values(channels, scale=0.3) if bias else None,
            stride=list(stride), padding=list(padding), dilation=list(dilation), groups=groups,
        )  # fmt: skip

    def affine(self, name: str | None = None, source: int | None = None) -> int:
        source = self.x if source is None else source
        return self.add("affine", [source], name, **self._scales(source))

    def batch_norm(self, name: str | None = None, source: int | None = None) -> int:
        source = self.x if source is None else source
        c = self.shapes[source][0]
        mean = self.values(c, scale=0.3)
        variance = self.values(c, mean=1.0, scale=0.3, positive=True)
        scales = self._scales(source)
        return self.add(
            "batch_norm", [source], name, **scales, mean=mean, variance=variance, eps=1e-5
        )

    def _scales(self, source: int) -> dict[str, NDArray[np.float32]]:
        c = self.shapes[source][0]
        return {"weight": self.values(c, mean=1.0, scale=0.3), "bias": self.values(c, scale=0.3)}

    def pool(
        self, op: str, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
    ) -> int:
        return self.add(op, kernel=list(kernel), stride=list(stride), padding=list(padding))

    def channel_pad(self, position: Sequence[int], channels: int, source: int | None = None) -> int:
        inputs = None if source is None else [source]
        return self.add(
            "channel_pad", inputs, position=np.array(position, np.int32), channels=channels
        )

    def global_avg_pool(self) -> int:
        return self.add("global_avg_pool")

    def linear(self, outputs: int, name: str = "head", bias: bool = True) -> int:
        """A linear layer on the last map, flattened where it is not."""
        if len(self.shapes[self.x]) == 3:
            self.add("flatten")
        inside = self.shapes[self.x][0]
        weight = self.values(outputs, inside, scale=math.sqrt(1 / inside))
        named = self.values(outputs, scale=0.1) if bias else None
        return self.add("linear", None, name, weight=weight, bias=named)

    def tap(self) -> None:
        self.taps.append(self.x)


def slide(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """How often a window fits, down and across; not positive where it does not."""
    return tuple(
        (length + 2 * p - (k - 1) * d - 1) // s + 1
        for length, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
