"""The logits of a network, from which its output comes.

A network may process the output of its last nn.Linear: mask classes, adjust or reorder them, divide
by a temperature, end in a softmax. The logits, which training and devices compare, are what
`forward` returns, or the input of a softmax or log-softmax at its end.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import fx

from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.modes import evaluating
from pyedge.cloud.graph.nodes import shape_of
from pyedge.cloud.graph.rewrite import device_of, random_input, values

Ending = Literal["logits", "softmax", "log_softmax"]

_SOFTMAXES: tuple[Ending, ...] = ("softmax", "log_softmax")
# Logits of these sizes: the smaller tell a softmax from its relatives, the larger tell that a
# number was added to the logits or that they were scaled.
_NOISE = (1.0, 8.0)
_CLOSE = 1e-5  # float32 probabilities, or their logarithms over the largest of them


def find_logits(traced: fx.GraphModule, classifier: str) -> tuple[fx.Node, Ending]:
    """Find the node of the logits, and how the output comes from them.

    classifier: the module name of the last nn.Linear. A softmax in any spelling is found by running
    what follows the classifier on noise. If several nodes would do (z, and z less its largest
    number), it is the first.
    """
    output = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    assert isinstance(output, fx.Node)
    last = classifier_node(traced, classifier)
    candidates = [
        node
        for node in after(last, output)
        if node is not output and shape_of(node) == shape_of(output)
    ]
    if not candidates:
        return output, "logits"
    generator = torch.Generator().manual_seed(0)
    fitting: dict[Ending, set[fx.Node]] = {
        "softmax": set(candidates),
        "log_softmax": set(candidates),
    }
    for size in _NOISE:
        noise = size * torch.randn(shape_of(last), generator=generator).float().to(
            device_of(traced)
        )
        with evaluating(traced):
            seen = values(traced, random_input(traced), {last: noise}, {output, *candidates})
        seen[last] = noise
        for ending, left in fitting.items():
            left &= {node for node in left if _is_ending(ending, seen[node], seen[output])}
    for ending, left in fitting.items():
        for node in candidates:
            if node in left:
                return node, ending
    return output, "logits"


def classifier_node(traced: fx.GraphModule, classifier: str) -> fx.Node:
    """Return the node that calls the classifier."""
    return next(node for node in traced.graph.nodes if str(node.target) == classifier)


def after(last: fx.Node, output: fx.Node) -> list[fx.Node]:
    """Return `last` and the nodes on all paths from there to `output`, in order."""
    reached = {last}
    for node in last.graph.nodes:
        if any(source in reached for source in node.all_input_nodes):
            reached.add(node)
    needed, stack = set(), [output]
    while stack:
        node = stack.pop()
        if node in reached and node not in needed:
            needed.add(node)
            stack.extend(node.all_input_nodes)
    return list(nodes.in_order(needed, last.graph))


def finish(logits: torch.Tensor, ending: Ending) -> torch.Tensor:
    """Return what the network's `forward` makes of its logits, [n, classes]."""
    if ending == "softmax":
        return logits.softmax(1)
    return logits.log_softmax(1) if ending == "log_softmax" else logits


def ending_between(logits: torch.Tensor, output: torch.Tensor) -> Ending:
    """Tell how the output [n, classes] comes from the logits, from the values of both."""
    return next((each for each in _SOFTMAXES if _is_ending(each, logits, output)), "logits")


def _is_ending(ending: Ending, logits: torch.Tensor, output: torch.Tensor) -> bool:
    if output.shape != logits.shape or not output.is_floating_point():
        return False
    expected, got = finish(logits.double(), ending), output.double()
    if ending == "log_softmax":  # minus infinity stands for a masked class
        expected, got = expected.exp(), got.exp()
    return bool(((expected - got).abs() <= _CLOSE).all())
