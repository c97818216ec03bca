"""The same students in torch as well as they can be written for a step with frozen batch norm.

What was tried on 128 x 78 x 32 x 32 maps and the like, one core, forward and backward: batch norm
as an affine in one `addcmul` with ReLU in place costs 7.3 ms in channels_last where `F.batch_norm`
and ReLU cost 10.6; a shortcut added at its channels (`index_add` on the matrix of pixels) 1.5 ms
where padding and adding cost 10.3, a one-hot 1x1 convolution 5.5.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.shared.students import BenchStudent, Node
from bench.step.torch_student import TorchStudent


class BestStudent(TorchStudent):
    """Batch norm folded into frozen convs or left as an affine, ReLU in place, no padded copies.

    `compiled` spells the elementwise parts so that torch.compile fuses them.
    """

    def __init__(
        self,
        student: BenchStudent,
        trainable: Collection[str],
        layout: torch.memory_format = torch.channels_last,
        compiled: bool = False,
    ) -> None:
        super().__init__(student, trainable)
        self.layout, self.compiled = layout, compiled
        readers: dict[int, list[int]] = {}
        for place, node in enumerate(self.nodes):
            for source in node["inputs"]:
                readers.setdefault(source, []).append(place)
        # what one node alone reads may be overwritten by it
        self.alone = [
            len(readers.get(i, ())) == 1 and i not in self.taps for i in range(len(self.nodes))
        ]
        self._fold_batch_norms(set(trainable))
        self._join_shortcuts()
        for node in self.nodes:
            if node["op"] == "conv2d":
                weight = self._array(node, "weight")
                weight.data = weight.data.contiguous(memory_format=layout)

    def _fold_batch_norms(self, trainable: set[str]) -> None:
        for node in self.nodes:
            if node["op"] != "batch_norm" or node["name"] in trainable:
                continue
            variance = self._array(node, "variance")
            scale = self._array(node, "weight") * torch.rsqrt(variance + node["eps"])
            shift = self._array(node, "bias") - self._array(node, "mean") * scale
            (source,) = node["inputs"]
            before = self.nodes[source]
            if before["op"] == "conv2d" and before["name"] not in trainable and self.alone[source]:
                weight, bias = self._array(before, "weight"), self._array(before, "bias")
                self._set_array(before, "weight", weight * scale[:, None, None, None])
                self._set_array(before, "bias", shift if bias is None else shift + bias * scale)
                node["op"] = "input"  # the identity
            else:
                node["op"] = "affine"
                self._set_array(node, "scale", scale.view(1, -1, 1, 1))
                self._set_array(node, "shift", shift.view(1, -1, 1, 1))

    def _join_shortcuts(self) -> None:
        for node in self.nodes:
            if node["op"] != "add":
                continue
            for place, other in (node["inputs"], node["inputs"][::-1]):
                pad = self.nodes[place]
                if pad["op"] == "channel_pad" and self.alone[place] and self.alone[other]:
                    pad["op"], node["op"] = "input", "add_at"
                    node["inputs"] = [other, place]
                    node |= {key: pad[key] for key in ("from", "to", "back", "forth")}
                    break

    def _prepare_place(self, node: Node, position: Tensor) -> None:
        super()._prepare_place(node, position)
        c_in, c_out = len(position), node["channels"]
        # where each output channel comes from and each input channel went, past the end: nowhere
        forth = torch.full((c_out,), c_in)
        forth[node["to"]] = node["from"]
        self._set_array(node, "forth", forth)
        self._set_array(node, "back", torch.where(position < 0, c_out, position))

    def op_affine(self, node: Node, x: Tensor) -> Tensor:
        scale, shift = self._array(node, "scale"), self._array(node, "shift")
        return x * scale + shift if self.compiled else torch.addcmul(shift, x, scale)

    def op_relu(self, node: Node, x: Tensor) -> Tensor:
        if self.compiled or not self.alone[node["inputs"][0]]:
            return F.relu(x)
        return F.relu_(x)

    def op_relu6(self, node: Node, x: Tensor) -> Tensor:
        in_place = not self.compiled and self.alone[node["inputs"][0]]
        return F.relu6(x, inplace=in_place)

    def op_add_at(self, node: Node, y: Tensor, x: Tensor) -> Tensor:
        if self.compiled:
            return y + _Place.apply(x, self._array(node, "forth"), self._array(node, "back"))
        if len(node["from"]) < x.shape[1]:
            x = x[:, node["from"]]
        if self.layout == torch.contiguous_format:
            return y.index_add(1, node["to"], x)
        n, c, h, w = y.shape
        pixels = y.permute(0, 2, 3, 1).reshape(-1, c)
        added = pixels.index_add(1, node["to"], x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]))
        return added.view(n, h, w, c).permute(0, 3, 1, 2)


class _Place(torch.autograd.Function):
    """Channels gathered on the way back too: a scatter, autograd's choice, does not fuse."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return _gather(x, forth)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return _gather(grad, back), None, None


def _gather(x: Tensor, index: Tensor) -> Tensor:
    there = index < x.shape[1]
    return x[:, torch.where(there, index, 0)] * there.to(x.dtype).view(1, -1, 1, 1)
