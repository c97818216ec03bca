"""GraphBuilder: builds a student file's graph, node by node, with its arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.files.npy_archive import ArraySpec
from pyedge.student.graph import GraphChecker, Shape

Pair = tuple[int, int]

# Maps up to this side go through `resample`, whose cost grows with the cube of the side.
LARGEST_RESAMPLED = 32


class GraphBuilder:
    """Add nodes, and check every shape. Nodes are referred to by their index."""

    def __init__(self, input_shape: Sequence[int]) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.arrays: dict[str, NDArray[Any]] = {}
        self._specs: dict[str, ArraySpec] = {}
        self._checker = GraphChecker(self._specs, list(input_shape))
        self._names: set[str] = set()
        self._computed: set[int] = set()  # affines whose numbers nobody learns
        self.add("input", "input", [])

    def shape(self, index: int) -> Shape:
        """Return the shape of one image's output."""
        return self._checker.layers[index].shape

    def add(self, op: str, name: str, inputs: Sequence[int], **fields: Any) -> int:
        """Add a node under `name`, or a similar name if that is taken; return its index.

        An array becomes an entry of `arrays` under the node's name and the field's. Raises
        ValueError for fields that do not fit together.
        """
        free = self._free(name)
        node: dict[str, Any] = {"op": op, "name": free, "inputs": list(inputs)}
        for field, value in fields.items():
            if isinstance(value, np.ndarray):
                value = self._store(f"{free}.{_STORED_AS.get(field, field)}", value)
            node[field] = value
        self._checker.add(node)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _free(self, name: str) -> str:
        name = "".join(c if c.isprintable() else "_" for c in name)[:180] or "node"
        free, count = name, 1
        while free in self._names:
            count += 1
            free = f"{name}@{count}"
        self._names.add(free)
        return free

    def _store(self, name: str, array: NDArray[Any]) -> str:
        self.arrays[name] = np.array(array, order="C")
        self._specs[name] = ArraySpec.of(self.arrays[name])
        return name

    def affine(
        self, name: str, source: int, weight: NDArray[Any] | float, bias: NDArray[Any] | float
    ) -> int:
        """Scale and shift by constants, merged with a constant affine right before it."""
        c = self.shape(source)[0]
        scale = np.broadcast_to(np.asarray(weight, np.float64), c)
        shift = np.broadcast_to(np.asarray(bias, np.float64), c)
        if source in self._computed:
            before = self.nodes[source]
            shift = shift + scale * self.arrays[before["bias"]]
            scale = scale * self.arrays[before["weight"]]
            (source,) = before["inputs"]
        if (scale == 1).all() and (shift == 0).all():
            return source
        numbers = {"weight": scale.astype(np.float32), "bias": shift.astype(np.float32)}
        index = self.add("affine", name, [source], **numbers)
        self._computed.add(index)
        return index

    def conv(
        self,
        name: str,
        source: int,
        weight: NDArray[Any],
        *,
        bias: NDArray[Any] | None = None,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> int:
        """Add a convolution."""
        return self.add(
            "conv2d",
            name,
            [source],
            weight=weight.astype(np.float32),
            bias=None if bias is None else bias.astype(np.float32),
            stride=list(stride),
            padding=list(padding),
            dilation=list(dilation),
            groups=groups,
        )

    def pool(
        self, op: str, name: str, source: int, kernel: Pair, stride: Pair, padding: Pair = (0, 0)
    ) -> int:
        """Add an average or a maximum pool, in its simplest form."""
        size = self.shape(source)[1:]
        if kernel == (1, 1) and stride == (1, 1):
            return source
        if op == "avg_pool" and kernel == size and padding == (0, 0):
            return self.add("global_avg_pool", name, [source])
        window = {"kernel": list(kernel), "stride": list(stride), "padding": list(padding)}
        return self.add(op, name, [source], **window)

    def shift(self, name: str, source: int, down: Pair, across: Pair) -> int:
        """Add zeros around a map, or cut where a number is negative: (before, after) each.

        A symmetric padding and a depthwise convolution whose window holds a single 1 do both.
        """
        if down == across == (0, 0):
            return source
        c = self.shape(source)[0]
        padding = tuple(max(before, after, 0) for before, after in (down, across))
        sides = zip((down, across), padding, strict=True)
        size = [2 * pad - before - after + 1 for (before, after), pad in sides]
        weight = np.zeros((c, 1, *size), np.float32)
        weight[:, :, padding[0] - down[0], padding[1] - across[0]] = 1
        return self.conv(name, source, weight, padding=(padding[0], padding[1]), groups=c)

    def resample(self, name: str, source: int, rows: NDArray[Any], columns: NDArray[Any]) -> int:
        """Apply rows [h_out, h] and columns [w_out, w] to the two sides of every channel's map.

        Everything linear and separable can be written so: unequal windows, mirrored borders. Each
        side takes two grouped convolutions: one puts every line of the map into a channel of its
        own, one adds them up again. Raises ValueError for large maps, where this would be slow.
        """
        for axis, matrix in enumerate((rows, columns)):
            size = matrix.shape[1]
            if np.array_equal(matrix, np.eye(size)):
                continue
            if max(matrix.shape) > LARGEST_RESAMPLED:
                raise ValueError(
                    f"on a map of {size} lines it would take a matrix of {list(matrix.shape)}; "
                    f"pyedge does so up to {LARGEST_RESAMPLED} lines"
                )
            c = self.shape(source)[0]
            if size > 1:
                lines = np.tile(np.eye(size, dtype=np.float32)[:, None, :], (c, 1, 1))
                source = self.conv(name, source, _upright(lines, axis), groups=c)
            # one line, padded: window number i sees it at place n - 1 - i
            spread = np.tile(matrix.T[None, :, ::-1], (c, 1, 1))
            n = len(matrix)
            padding = (n - 1, 0) if axis == 0 else (0, n - 1)
            source = self.conv(name, source, _upright(spread, axis), padding=padding, groups=c)
        return source

    def is_never_negative(self, index: int) -> bool:
        """Tell whether a node's output is zero or more for all images."""
        node = self.nodes[index]
        if node["op"] in ("relu", "relu6", "sigmoid", "hard_sigmoid"):
            return True
        passes = ("max_pool", "avg_pool", "global_avg_pool", "flatten", "channel_pad", "add")
        return node["op"] in passes and all(map(self.is_never_negative, node["inputs"]))

    def pruned(self, wanted: Sequence[int]) -> tuple[list[dict[str, Any]], list[int]]:
        """Drop nodes that no wanted node needs; return the others, and the wanted's new indices.

        `arrays` then holds only the arrays of those others.
        """
        needed, stack = {0}, list(wanted)
        while stack:
            index = stack.pop()
            if index not in needed:
                needed.add(index)
                stack.extend(self.nodes[index]["inputs"])
        place = {old: new for new, old in enumerate(sorted(needed))}
        nodes = []
        for old in place:
            inputs = [place[i] for i in self.nodes[old]["inputs"]]
            nodes.append({**self.nodes[old], "inputs": inputs})
        used = {value for node in nodes for value in node.values() if isinstance(value, str)}
        self.arrays = {name: array for name, array in self.arrays.items() if name in used}
        return nodes, [place[index] for index in wanted]


# the names that torch gives them
_STORED_AS: Mapping[str, str] = {"mean": "running_mean", "variance": "running_var"}


def _upright(weight: NDArray[Any], axis: int) -> NDArray[Any]:
    """[o, i, k] -> [o, i, k, 1], or [o, i, 1, k] for the other side."""
    return weight[:, :, :, None] if axis == 0 else weight[:, :, None, :]
