"""Depth: keep one block of each group (Sec. 3), by rewiring the graph around the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx, nn

from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.gates import find_gates
from pyedge.cloud.graph.nodes import shape_of
from pyedge.cloud.graph.rewrite import add_module
from pyedge.cloud.graph.structure import Block, Structure
from pyedge.errors import StructureError

Keep = Literal["first", "last"]
Head = Literal["single", "keep"]


@dataclass(frozen=True)
class Shallow:
    """A network with one block in each group, at full width.

    traced shares modules with the network it was cut from. taps: names of the graph nodes with
    each group's output. source: for each convolution that stays, the convolution of the full
    network whose activations and weights it takes (a different one only with keep="last").
    other_source: the same for norms, and layers inside gates and activations. block_convs: for each
    group the convolutions of its block, in order. gate_convs: convolutions inside gates.
    """

    traced: fx.GraphModule
    taps: tuple[str, ...]
    source: dict[str, str]
    block_convs: tuple[tuple[str, ...], ...]
    other_source: dict[str, str]
    fresh_head: bool
    gate_convs: tuple[str, ...] = ()


def make_shallow(traced: fx.GraphModule, structure: Structure, keep: Keep, head: Head) -> Shallow:
    """Cut all but one block out of each group; the one that stays has the first one's shape.

    The group's first block is the one that fits: it has the stride and the change of width.
    keep="last" is the paper's wording: the last block then gets that stride and width. Its layers
    take the places of the first one's, with their own measurements and weights.
    """
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    # the copy ends before the output node: it is made anew below
    result = graph.graph_copy(traced.graph, copied)
    graph.output(result)
    by_name = {old.name: new for old, new in copied.items()}
    shallow = fx.GraphModule(traced, graph, class_name=type(traced).__name__)

    source: dict[str, str] = {}
    other_source: dict[str, str] = {}
    in_blocks = {conv for g in structure.groups for b in g.blocks for conv in b.convs}
    taps = []
    for group in structure.groups:
        first, last = group.blocks[0], group.blocks[-1]
        for block in (*group.blocks[1:], *group.repeats):
            _check_droppable(by_name[block.output], by_name[block.entry], block.name)
            by_name[block.output].replace_all_uses_with(by_name[first.output])
        taps.append(by_name[first.output])
        stays = first if keep == "first" else last
        if len(stays.convs) != len(first.convs):
            raise StructureError(
                f"keep='last': {last.name} has {len(last.convs)} convolutions and {first.name}, "
                f"whose place it takes, {len(first.convs)}; use keep='first'"
            )
        source.update(zip(first.convs, stays.convs, strict=True))
        if keep == "last":
            other_source.update(_paired_norms(traced, first.convs, last.convs, in_blocks))
            other_source.update(_paired_others(traced, first, last))
    fresh_head = bool(structure.hidden) and head == "single"
    if fresh_head:
        _single_linear(shallow, structure)
    graph.eliminate_dead_code()
    _skip_double_relus(graph)
    graph.lint()
    shallow.recompile()
    shallow.delete_all_unused_submodules()
    for name in structure.stem:
        source.setdefault(name, name)
    return Shallow(
        shallow.eval(),
        tuple(node.name for node in taps),
        source,
        tuple(group.blocks[0].convs for group in structure.groups),
        other_source,
        fresh_head,
        find_gates(traced).layers(nn.Conv2d),
    )


def _check_droppable(output: fx.Node, entry: fx.Node, name: str) -> None:
    if shape_of(output) != shape_of(entry):
        raise StructureError(
            f"block {name} maps {shape_of(entry)[1:]} to {shape_of(output)[1:]} and cannot be "
            "dropped: only a group's first block may change the shape"
        )


def _skip_double_relus(graph: fx.Graph) -> None:
    """Turn relu(relu(x)), which dropping a block can leave, into relu(x)."""
    for node in list(graph.nodes):
        if nodes.is_relu(node) and not nodes.is_relu6(node):
            before = node.all_input_nodes[0]
            if nodes.is_relu(before):
                node.replace_all_uses_with(before)
                graph.erase_node(node)


def _paired_norms(
    traced: fx.GraphModule, first: tuple[str, ...], last: tuple[str, ...], in_blocks: set[str]
) -> dict[str, str]:
    """Pair the batch norms that lie around the two blocks' convolutions, by position.

    in_blocks: the convolutions of all blocks.
    """
    pairs = {}
    for one, other in zip(first, last, strict=True):
        before = (
            _norm_before(traced, one, in_blocks.difference(first)),
            _norm_before(traced, other, in_blocks.difference(last)),
        )
        for a, b in (before, (_norm_after(traced, one), _norm_after(traced, other))):
            if a is not None and b is not None:
                pairs[a] = b
    return pairs


def _paired_others(traced: fx.GraphModule, first: Block, last: Block) -> dict[str, str]:
    """Pair the layers with weights that are no convolutions of the blocks and no norms, by order.

    They are the layers inside gates, and learned activations. Nothing is paired where the blocks
    do not have the same ones.
    """
    one, other = _others(traced, first), _others(traced, last)
    kinds = [[type(traced.get_submodule(name)) for name in names] for names in (one, other)]
    return dict(zip(one, other, strict=True)) if kinds[0] == kinds[1] else {}


def _others(traced: fx.GraphModule, block: Block) -> list[str]:
    by_name = {node.name: node for node in traced.graph.nodes}
    inside = nodes.upstream(by_name[block.output], stop=by_name[block.entry])
    found = [
        str(node.target)
        for node in nodes.in_order(inside, traced.graph)
        if not nodes.is_channel_norm(node)
        and any(True for _ in getattr(nodes.module_of(node), "parameters", list)())
    ]
    convs = {*block.convs, *block.shortcut_convs}
    return [name for name in dict.fromkeys(found) if name not in convs]


def _conv_node(traced: fx.GraphModule, name: str) -> fx.Node:
    return next(node for node in traced.graph.nodes if node.target == name)


def _norm_before(traced: fx.GraphModule, conv: str, foreign: set[str]) -> str | None:
    """Name the norm before a convolution; None if it comes after one of the `foreign` ones.

    In a chain without pools the norm before a block is the one that ends the block before it.
    """
    node = _conv_node(traced, conv).all_input_nodes[0]
    while nodes.is_activation(node) or nodes.is_content_free(node):
        node = node.all_input_nodes[0]
    if not nodes.is_channel_norm(node):
        return None
    source = node.all_input_nodes[0]
    while nodes.is_content_free(source):
        source = source.all_input_nodes[0]
    return None if source.target in foreign else str(node.target)


def _norm_after(traced: fx.GraphModule, conv: str) -> str | None:
    readers = [n for n in _conv_node(traced, conv).users if nodes.is_channel_norm(n)]
    return str(readers[0].target) if readers else None


def _single_linear(shallow: fx.GraphModule, structure: Structure) -> None:
    """Replace the hidden layers and the classifier by one linear layer on the last features.

    The paper's VGG students have one linear layer; their parameter counts say so
    (416 x 7 x 7 x 102 for VGG-16 1).
    """
    graph = shallow.graph
    first_hidden = next(node for node in graph.nodes if node.target == structure.hidden[0])
    old = next(node for node in graph.nodes if node.target == structure.classifier)
    features = first_hidden.all_input_nodes[0]
    while features.target is torch.flatten or nodes.is_content_free(features):
        features = features.all_input_nodes[0]
    flat = 1
    for size in shape_of(features)[1:]:
        flat *= size
    linear = shallow.get_submodule(structure.classifier)
    assert isinstance(linear, nn.Linear)
    name = add_module(shallow, "classifier", nn.Linear(flat, linear.out_features).eval())
    with graph.inserting_after(features):
        flattened = graph.call_function(torch.flatten, (features, 1))
    with graph.inserting_after(flattened):
        new = graph.call_module(name, (flattened,))
    new.meta.update(old.meta)
    flattened.meta["shape"] = (shape_of(features)[0], flat)
    old.replace_all_uses_with(new)


def classifier_name(traced: fx.GraphModule) -> str:
    """Return the module name of the last nn.Linear of a graph."""
    linears = [str(node.target) for node in traced.graph.nodes if nodes.is_linear(node)]
    return linears[-1]
