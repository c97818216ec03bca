"""The students as torch modules, from the same nodes and arrays: as written, and at their best."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.shared.students import BenchStudent, Node


class TorchStudent(nn.Module):
    """The graph node by node, as a user's module would compute it: [n, c, h, w] -> logits, taps.

    Only the arrays of the nodes `trainable` ask for gradients; batch norm uses its running
    statistics.
    """

    def __init__(self, student: BenchStudent, trainable: Collection[str]) -> None:
        super().__init__()
        self.nodes: list[Node] = [dict(node) for node in student.nodes]
        self.taps = list(student.taps)
        self.learned = student.parameters(list(trainable))
        for name, array in student.arrays.items():
            tensor = torch.from_numpy(array.copy())
            if name in self.learned:
                self.register_parameter(_attribute(name), nn.Parameter(tensor))
            else:
                self.register_buffer(_attribute(name), tensor)
        for node in self.nodes:
            if node["op"] == "channel_pad":
                self._prepare_place(node, self._array(node, "position").long())

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of all that learns, by array name."""
        return {name: getattr(self, _attribute(name)).grad for name in self.learned}

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        values: list[Tensor] = []
        for node in self.nodes:
            sources = [values[i] for i in node["inputs"]] if values else [x]
            values.append(self._compute(node, sources))
        return values[-1], [values[tap] for tap in self.taps]

    def _compute(self, node: Node, x: list[Tensor]) -> Tensor:
        return getattr(self, f"op_{node['op']}")(node, *x)

    def _array(self, node: Node, key: str) -> Any:
        return None if node[key] is None else getattr(self, _attribute(node[key]))

    def _set_array(self, node: Node, key: str, value: Tensor) -> None:
        node[key] = f"{node['name']}.{key}"
        self.register_buffer(_attribute(node[key]), value)

    def op_input(self, node: Node, x: Tensor) -> Tensor:
        return x

    def op_conv2d(self, node: Node, x: Tensor) -> Tensor:
        return F.conv2d(
            x, self._array(node, "weight"), self._array(node, "bias"), node["stride"],
            node["padding"], node["dilation"], node["groups"],
        )  # fmt: skip

    def op_batch_norm(self, node: Node, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self._array(node, "mean"), self._array(node, "variance"),
            self._array(node, "weight"), self._array(node, "bias"), False, 0.0, node["eps"],
        )  # fmt: skip

    def op_relu(self, node: Node, x: Tensor) -> Tensor:
        return F.relu(x)

    def op_relu6(self, node: Node, x: Tensor) -> Tensor:
        return F.relu6(x)

    def op_add(self, node: Node, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def op_avg_pool(self, node: Node, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, node["kernel"], node["stride"], node["padding"])

    def op_max_pool(self, node: Node, x: Tensor) -> Tensor:
        return F.max_pool2d(x, node["kernel"], node["stride"], node["padding"])

    def op_global_avg_pool(self, node: Node, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, 1)

    def op_flatten(self, node: Node, x: Tensor) -> Tensor:
        return torch.flatten(x, 1)

    def op_linear(self, node: Node, x: Tensor) -> Tensor:
        return F.linear(x, self._array(node, "weight"), self._array(node, "bias"))

    def _prepare_place(self, node: Node, position: Tensor) -> None:
        node["from"] = (position >= 0).nonzero().flatten()
        node["to"] = position[node["from"]]

    def op_channel_pad(self, node: Node, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if len(node["from"]) < c:
            x = x[:, node["from"]]
        return x.new_zeros(n, node["channels"], h, w).index_copy(1, node["to"], x)


def _attribute(name: str) -> str:
    """Turn an array's name into one that a module can register: no dots, none of its own."""
    return "array_" + name.replace(".", "_")
