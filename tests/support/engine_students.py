"""Whole students for tests of the edge engine: the paper's, and two of other families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

import pyedge
from bench.shared.students import WIDTHS, make_student
from pyedge import models
from pyedge.cloud.exporting.lower import lower
from pyedge.files.npy_archive import ArraySpec
from pyedge.student.graph import infer_layers
from tests.support.dialects.dialect import settle
from tests.support.engine_graphs import Graph

PAPER = ("resnet1", "resnet2", "resnet3", "resnet4")
OTHERS = ("resnet18", "vgg11", "vgg4")


class StudentGraph(Graph):
    """last_conv: what learns on a device (Sec. 4.1). full: every node with weights."""

    def __init__(
        self,
        nodes: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, NDArray[Any]],
        shapes: Sequence[tuple[int, ...]],
        taps: Sequence[int],
        last_conv: Sequence[str],
    ) -> None:
        super().__init__(nodes, arrays, shapes, taps)
        self.last_conv = list(last_conv)
        self.full = self.with_weights()

    def layers(self, which: str) -> list[str]:
        return self.last_conv if which == "last_conv" else self.full


@cache
def student(name: str, size: int = 32) -> StudentGraph:
    """Make one of `PAPER` or `OTHERS` for images of 3 x size x size; nobody may change it."""
    if name in WIDTHS:
        made = make_student(name)
        shapes = _shapes(made.nodes, made.arrays, (3, size, size))
        return StudentGraph(made.nodes, made.arrays, shapes, made.taps, made.last_conv)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        if name == "resnet18":  # a stem of 7x7 and a max pool, projected shortcuts, in small
            return lowered_graph(models.resnet18(7, width=8), size)
        return lowered_graph(models.vgg11(7, input_size=size, hidden=None, width=8), size)


def lowered_graph(model: nn.Module, size: int, P: float = 0.6) -> StudentGraph:
    """Compress a network that is settled as after training, and lower it."""
    images = torch.randn(16, 3, size, size)
    settle(model, images)
    lowered = lower(pyedge.compress(model.eval(), P=P, images=images))
    assert lowered.output == len(lowered.nodes) - 1
    shapes = _shapes(lowered.nodes, lowered.arrays, lowered.input_shape)
    last_conv = [*lowered.last_convs, lowered.classifier]
    return StudentGraph(lowered.nodes, lowered.arrays, shapes, lowered.taps, last_conv)


def _shapes(
    nodes: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, NDArray[Any]],
    input_shape: Sequence[int],
) -> list[tuple[int, ...]]:
    specs = {name: ArraySpec.of(array) for name, array in arrays.items()}
    return [layer.shape for layer in infer_layers(nodes, specs, input_shape)]
