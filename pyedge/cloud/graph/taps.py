"""Taps: a teacher that also returns the outputs of its blocks, group by group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx, nn

from pyedge.cloud.graph.answer import find_logits
from pyedge.cloud.graph.clone import private_copy, unwrap
from pyedge.cloud.graph.siblings import Origin, origin_of
from pyedge.cloud.graph.structure import BlockNames, analyse
from pyedge.cloud.graph.trace import trace
from pyedge.cloud.shown import (
    classes_learned,
    preprocessing_of,
    remember,
    remember_classes,
    remember_preprocessing,
    shown_to,
)
from pyedge.cloud.weights.checks import is_float32, like_weights


class TappedTeacher(nn.Module):
    """A teacher that also returns its blocks' maps; it shares the network's parameters.

    Calling it gives (logits n classes, [[map of block 0, map of block 1, ...] for each group]).
    `origin` is that of a student (see `siblings`), None for any other network.
    """

    is_tapped = True

    def __init__(self, net: fx.GraphModule, blocks: Sequence[int], origin: Origin = None) -> None:
        super().__init__()
        self.net = net
        self.blocks = tuple(blocks)
        self.origin = origin

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
        _, logits, *flat = self.net(like_weights(x, self))
        maps, start = [], 0
        for count in self.blocks:
            maps.append(flat[start : start + count])
            start += count
        return logits, maps


def tap_teacher(
    model: nn.Module, example: torch.Tensor, structure: BlockNames | None = None
) -> TappedTeacher:
    """Make a tapped view of `model`, for images of the size of `example` (float n c h w).

    The block outputs are the candidates of the matching in Sec. 4.1. A network that is not float32
    is tapped as a float32 copy. Raises StructureError.
    """
    given, training = model, model.training
    if not is_float32(model):
        model = private_copy(model)
    traced = trace(model, example.float())
    found = analyse(traced, structure)
    taps = [[block.output for block in group.blocks] for group in found.groups]
    net = with_taps(traced, taps, found.classifier)
    origin = origin_of(unwrap(given))
    tapped = TappedTeacher(net.train(training), [len(group) for group in taps], origin)
    remember(tapped, shown_to(given))
    remember_preprocessing(tapped, preprocessing_of(given))
    remember_classes(tapped, classes_learned(given))
    return tapped


def with_taps(
    traced: fx.GraphModule, taps: Sequence[Sequence[str]], classifier: str
) -> fx.GraphModule:
    """Return a graph over the same modules that returns (output, logits, *taps in a flat row).

    taps: names of graph nodes, one list for each group. classifier: the module name of the last
    nn.Linear. logits is the output, or the input of a softmax or log-softmax at its end.
    """
    found, _ = find_logits(traced, classifier)
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    output = graph.graph_copy(traced.graph, copied)
    by_name = {old.name: new for old, new in copied.items()}
    graph.output((output, copied[found], *(by_name[name] for group in taps for name in group)))
    graph.lint()
    return fx.GraphModule(traced, graph, class_name=type(traced).__name__)
