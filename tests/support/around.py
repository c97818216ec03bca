"""Students around one operator, for the tests of export."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.interpret import interpret, tensors_of
from pyedge.cloud.exporting.lower import lower
from pyedge.cloud.graph.rewrite import add_module


def student_around(body: Callable[[Tensor], Tensor], channels: int = 4, size: int = 9) -> Student:
    """A student whose one block is a convolution, with `body` between it and the classifier.

    Its map can be negative. `body` gives n c h w or n f.
    """

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, channels, 3, padding=1)
            self.body = body if isinstance(body, nn.Module) else nn.Identity()

        def forward(self, x: Tensor) -> Any:
            y = self.conv(x)
            z = self.body(y) if isinstance(body, nn.Module) else body(y)
            return y, z

    torch.manual_seed(0)
    net = fx.symbolic_trace(Net())
    example = torch.randn(2, 3, size, size)
    width = net(example)[1].flatten(1).shape[1]
    y, z = next(node for node in net.graph.nodes if node.op == "output").args[0]
    name = add_module(net, "classifier", nn.Linear(width, 5))
    for node in list(net.graph.nodes):
        if node.op == "output":
            net.graph.erase_node(node)
    flat = net.graph.call_function(torch.flatten, (z, 1))
    logits = net.graph.call_module(name, (flat,))
    net.graph.output((logits, logits, y))
    net.recompile()
    placeholder = next(iter(net.graph.nodes))
    placeholder.meta["shape"] = tuple(example.shape)
    kept = [torch.arange(channels)]
    return Student(net, kept, ["conv"], name, [channels]).eval()


def differences(student: Student, x: Tensor | None = None) -> float:
    """How far the lowered graph, run in torch, is from the student: logits and taps, in float64."""
    lowered = lower(student)
    x = torch.randn(3, *lowered.input_shape) if x is None else x
    values = interpret(lowered.nodes, tensors_of(lowered.arrays), x.double())
    with torch.no_grad():
        logits, taps = copy.deepcopy(student).double().forward_taps(x.double())
    found = [values[lowered.output], *(values[tap] for tap in lowered.taps)]
    pairs = zip(found, [logits, *taps], strict=True)
    return max(float((a - b).detach().norm() / b.norm()) for a, b in pairs)
