"""Find the groups of a network, and the blocks in each, from its graph (Sec. 3, Figure 2).

A group is a run of blocks at one resolution and width. In a residual network a block is what
lies between a sum and the fork that it closes; in a plain chain (VGG) a block is one
convolution with what follows up to its activation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.answer import after
from pyedge.cloud.graph.clone import private_copy
from pyedge.cloud.graph.gates import Gates, find_gates
from pyedge.cloud.graph.nodes import shape_of
from pyedge.cloud.graph.rewrite import constants, random_input
from pyedge.cloud.graph.tail import find_tail
from pyedge.cloud.graph.trace import trace
from pyedge.errors import StructureError
from pyedge.keywords import keywords

BlockNames = Sequence[Sequence[str]]

HOW_TO_PASS = (
    'pass structure=[["module of block 1", "module of block 2", ...], ...], one list a group, '
    "with names from model.named_modules()"
)


@dataclass(frozen=True)
class Block:
    """One block. `entry` and `output` are names of graph nodes, the others names of modules."""

    name: str
    convs: tuple[str, ...]
    shortcut_convs: tuple[str, ...]
    entry: str
    output: str


@dataclass(frozen=True)
class Group:
    """Blocks whose outputs have one shape c h w.

    A block that is called several times is one block; its further calls are in `repeats`, and are
    dropped when the student is made.
    """

    blocks: tuple[Block, ...]
    shape: tuple[int, ...]
    repeats: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Structure:
    """The groups of a network.

    stem: convolutions before and between the groups. hidden: names of the layers between the
    last group and the classifier that compute features of a flat vector (VGG's first two
    linear layers). input_shape: c h w that the shapes were measured with.
    """

    groups: tuple[Group, ...]
    stem: tuple[str, ...]
    hidden: tuple[str, ...]
    classifier: str
    residual: bool
    input_shape: tuple[int, ...]

    def __str__(self) -> str:
        kind = "residual" if self.residual else "chain"
        lines = [f"{kind} network, input {'x'.join(map(str, self.input_shape))}"]
        lines.append(f"  before the groups: {', '.join(self.stem) or '-'}")
        for place, group in enumerate(self.groups, 1):
            names = ", ".join(block.name for block in group.blocks)
            shape = "x".join(map(str, group.shape))
            lines.append(f"  group {place} ({shape}): {names}")
        if self.hidden:
            lines.append(f"  hidden layers of the classifier: {', '.join(self.hidden)}")
        lines.append(f"  classifier: {self.classifier}")
        return "\n".join(lines)


@keywords()
def find_structure(
    model: nn.Module, example: torch.Tensor, structure: BlockNames | None = None
) -> Structure:
    """Find the groups and blocks of `model`.

    example: a float batch n c h w that the network takes. structure: the blocks' module names, one
    list for each group, for a network whose groups cannot be found. Raises StructureError.
    """
    return analyse(trace(private_copy(model), example.float()), structure)


def analyse(traced: fx.GraphModule, names: BlockNames | None = None) -> Structure:
    """Find the structure of a traced network."""
    _refuse_what_cannot_be_cut(traced)
    gates = find_gates(traced)
    _refuse_concatenation(traced)
    classifier, hidden = _head(traced, gates)
    if names is not None:
        groups, residual = _named_groups(traced, names, gates), True
    else:
        groups = _residual_groups(traced, gates)
        residual = bool(groups)
        if not residual:
            groups = _chain_groups(traced, set(hidden), gates)
    if not groups:
        raise StructureError(
            "no groups were found: looked for residual sums and for a chain of nn.Conv2d with "
            f"activations, found neither; {HOW_TO_PASS}"
        )
    inside = {conv for group in groups for block in group.blocks for conv in block.convs}
    inside |= {conv for group in groups for b in group.blocks for conv in b.shortcut_convs}
    stem = [
        name
        for node in traced.graph.nodes
        if nodes.is_conv(node)
        and node not in gates.inside
        and (name := str(node.target)) not in inside
        and name not in hidden
    ]
    placeholder = next(node for node in traced.graph.nodes if node.op == "placeholder")
    return Structure(
        tuple(groups), tuple(stem), hidden, classifier, residual, shape_of(placeholder)[1:]
    )


def _refuse_what_cannot_be_cut(traced: fx.GraphModule) -> None:
    modules = [nodes.module_of(node) for node in traced.graph.nodes]
    if not any(isinstance(module, nn.Conv2d) for module in modules):
        raise StructureError(
            f"no nn.Conv2d was found in {type(traced).__name__}: pyedge compresses convolutional "
            "classifiers (ResNet, WRN and VGG families)"
        )
    inside = (part for module in modules if module is not None for part in module.modules())
    if any(isinstance(part, nn.MultiheadAttention) for part in inside):
        raise StructureError("the network has attention layers, which have no groups of blocks")
    for node in traced.graph.nodes:
        if nodes.is_mixing_norm(node):
            raise StructureError(
                f"{node.target} ({type(nodes.module_of(node)).__name__}) normalises over several "
                "channels at once, so that no filter can go without changing the others; pyedge "
                "takes batch norm, instance norm and none"
            )


def _refuse_concatenation(traced: fx.GraphModule) -> None:
    for node in traced.graph.nodes:
        name = getattr(node.target, "__name__", node.target)
        if name in ("cat", "concat") and len(shape_of(node)) == 4 and shape_of(node)[2:] != (1, 1):
            raise StructureError(
                f"the network concatenates feature maps ({node.name}), as DenseNet, Inception, "
                "ShuffleNet and GhostNet do; pyedge takes residual networks and chains"
            )


def _head(traced: fx.GraphModule, gates: Gates) -> tuple[str, tuple[str, ...]]:
    """Find the classifier and the hidden layers before it."""
    linears = [
        node for node in traced.graph.nodes if nodes.is_linear(node) and node not in gates.inside
    ]
    if not linears:
        raise StructureError(
            "classifier: wanted an nn.Linear at the network's end, got a network without nn.Linear"
        )
    last = linears[-1]
    for other in linears[:-1]:
        if other.target == last.target:
            raise StructureError(
                f"the classifier, {last.target}, is called twice on different features; it can "
                "only be cut, and learn on a device, where it is called once"
            )
        if other not in nodes.upstream(last, stop=other) | {other}:
            raise StructureError(f"the network has two heads, {other.target} and {last.target}")
    output = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    if not _comes_from(traced, last, output):
        raise StructureError(
            f"the network's output does not come from its last nn.Linear, {last.target}, class by "
            "class: outputs of several layers put together, or pooled ones, are no classes of one"
        )
    disguised = [n for n in traced.graph.nodes if n not in gates.inside and _is_disguised_linear(n)]
    hidden = [str(node.target) for node in (*disguised, *linears[:-1])]
    return str(last.target), tuple(hidden)


def _comes_from(traced: fx.GraphModule, last: fx.Node, output: fx.Node) -> bool:
    """Tell whether each class comes from one output of the linear layer `last`."""
    if last is output or (shape_of(last) == shape_of(output) and after(last, output)):
        return True
    found = constants(traced, random_input(traced))
    return bool(after(last, output)) and find_tail(traced, last, output, found) is not None


def _is_disguised_linear(node: fx.Node) -> bool:
    """Tell whether a conv reads a whole map at once (timm's VGG spells linear layers so)."""
    conv = nodes.module_of(node)
    if not isinstance(conv, nn.Conv2d) or shape_of(node)[2:] != (1, 1) or any(conv.padding):
        return False
    before = shape_of(node.all_input_nodes[0])[2:]
    if before != (1, 1):
        return conv.kernel_size == before
    return _follows_disguised_linear(node)


def _follows_disguised_linear(node: fx.Node) -> bool:
    source = node.all_input_nodes[0]
    while len(source.all_input_nodes) == 1 and not nodes.is_conv(source):
        source = source.all_input_nodes[0]
    return nodes.is_conv(source) and _is_disguised_linear(source)


def _residual_groups(traced: fx.GraphModule, gates: Gates) -> list[Group]:
    fork_of = nodes.immediate_dominators(traced.graph)
    blocks: list[tuple[Block, tuple[int, ...]]] = []
    for node in traced.graph.nodes:
        if not nodes.is_add(node) or node in gates.inside:
            continue
        fork = fork_of.get(node)
        if fork is None:
            continue
        block = _residual_block(traced, node, fork, gates)
        if block is not None:
            blocks.append((block, shape_of(node)[1:]))
    return _runs(blocks)


def _residual_block(
    traced: fx.GraphModule, add: fx.Node, fork: fx.Node, gates: Gates
) -> Block | None:
    branches = [nodes.upstream(arg, stop=fork) - gates.inside for arg in nodes.inputs_of(add)]
    if len(branches) == 1:  # x + x
        return None
    convs = [[n for n in traced.graph.nodes if n in b and nodes.is_conv(n)] for b in branches]
    convs.sort(key=lambda found: (len(found), sum(_kernel_area(n) for n in found)))
    if not convs[-1]:
        return None
    if any(nodes.is_add(n) for n in branches[0] | branches[1]):
        raise StructureError(
            f"the sum {add.name} closes a block with another sum inside; {HOW_TO_PASS}"
        )
    main = tuple(str(n.target) for n in convs[-1])
    shortcut = tuple(str(n.target) for n in convs[0])
    entry = _entry(fork) if _is_pre_activation(add) else fork
    return Block(_common_name(main), main, shortcut, entry.name, _after_activation(add).name)


def _kernel_area(node: fx.Node) -> int:
    conv = nodes.module_of(node)
    assert isinstance(conv, nn.Conv2d)
    return conv.kernel_size[0] * conv.kernel_size[1]


def _is_pre_activation(add: fx.Node) -> bool:
    return _after_activation(add) is add


def _entry(fork: fx.Node) -> fx.Node:
    """Return a block's entry: norm and activation before a pre-activation block belong to it."""
    node = fork
    while nodes.is_activation(node) or nodes.is_channel_norm(node):
        node = nodes.inputs_of(node)[0]
    return node if nodes.is_add(node) or nodes.is_content_free(node) else fork


def _after_activation(node: fx.Node) -> fx.Node:
    """Return the activation that alone reads `node` (also through dropout), or `node` itself."""
    reader = node
    while len(reader.users) == 1:
        reader = next(iter(reader.users))
        if nodes.is_activation(reader):
            return reader
        if not nodes.is_content_free(reader):
            break
    return node


def _chain_groups(traced: fx.GraphModule, hidden: set[str], gates: Gates) -> list[Group]:
    blocks: list[tuple[Block, tuple[int, ...]]] = []
    inside = set(gates.inside)
    for node in traced.graph.nodes:
        if not nodes.is_conv(node) or str(node.target) in hidden or node in inside:
            continue
        last, reader = _end_of_block(node, gates)
        convs: tuple[str, ...] = (str(node.target),)
        if nodes.is_depthwise(node) and reader is not None and nodes.is_conv(reader):
            # with the convolution that mixes its channels it makes one block (MobileNetV1)
            inside.add(reader)
            last, _ = _end_of_block(reader, gates)
            convs = (*convs, str(reader.target))
        name = _common_name(convs) if len(convs) > 1 else convs[0]
        entry = nodes.inputs_of(node)[0]
        shape = shape_of(last)[1:]
        blocks.append((Block(name, convs, (), entry.name, last.name), shape))
    return _runs(blocks)


def _end_of_block(conv: fx.Node, gates: Gates) -> tuple[fx.Node, fx.Node | None]:
    """Return the last norm, activation or gate that alone reads `conv`, and what reads that."""
    output = reader = conv
    while True:
        product = gates.after(reader)
        if product is None and len(reader.users) != 1:
            return output, None
        reader = next(iter(reader.users)) if product is None else product
        if product is not None or nodes.is_activation(reader) or nodes.is_channel_norm(reader):
            output = reader
        elif not nodes.is_content_free(reader):
            return output, reader


def _named_groups(traced: fx.GraphModule, names: BlockNames, gates: Gates) -> list[Group]:
    groups = []
    for group in names:
        if isinstance(group, str):
            raise TypeError(f"structure: wanted a list of lists of names, got {group!r} inside")
        blocks = [_named_block(traced, name, gates) for name in group]
        runs = _runs(blocks)
        if len(runs) != 1:
            shapes = ", ".join(f"{block.name} {shape}" for block, shape in blocks)
            raise StructureError(f"structure: blocks of a group differ in shape: {shapes}")
        groups += runs
    return groups


def _named_block(traced: fx.GraphModule, name: str, gates: Gates) -> tuple[Block, tuple[int, ...]]:
    inside = [n for n in traced.graph.nodes if _is_inside(n, name)]
    if not inside:
        raise StructureError(f"structure: the network calls no module named {name!r}")
    outputs = [n for n in inside if any(user not in inside for user in n.users)]
    entries = {s: None for n in inside for s in nodes.inputs_of(n) if s not in inside}
    if len(outputs) != 1 or len(entries) != 1:
        raise StructureError(
            f"structure: module {name!r} has {len(entries)} inputs and {len(outputs)} outputs, "
            "wanted one of each"
        )
    output, entry = outputs[0], next(iter(entries))
    add = next((n for n in reversed(inside) if nodes.is_add(n) and n not in gates.inside), None)
    found = _residual_block(traced, add, entry, gates) if add is not None else None
    if found is not None:
        convs, shortcut = found.convs, found.shortcut_convs
    else:
        own = [n for n in inside if nodes.is_conv(n) and n not in gates.inside]
        convs, shortcut = tuple(str(n.target) for n in own), ()
    if not convs:
        raise StructureError(f"structure: module {name!r} has no nn.Conv2d")
    return Block(name, convs, shortcut, entry.name, output.name), shape_of(output)[1:]


def _is_inside(node: fx.Node, name: str) -> bool:
    paths = [str(path).removeprefix("model.") for path in node.meta.get("nn_module_stack", {})]
    return name in paths or str(node.target) == name


def _runs(blocks: list[tuple[Block, tuple[int, ...]]]) -> list[Group]:
    groups: list[Group] = []
    home: dict[tuple[str, ...], int] = {}
    for block, shape in blocks:
        if not groups or groups[-1].shape != shape:
            groups.append(Group((), shape))
        last = groups[-1]
        place = home.setdefault(block.convs, len(groups))
        if place != len(groups):
            raise StructureError(
                f"block {block.name} is called in two groups, at {groups[place - 1].shape} and at "
                f"{shape}; its filters cannot be pruned for one alone"
            )
        if any(block.convs == other.convs for other in last.blocks):
            groups[-1] = dataclasses.replace(last, repeats=(*last.repeats, block))
        else:
            groups[-1] = dataclasses.replace(last, blocks=(*last.blocks, block))
    return groups


def _common_name(convs: tuple[str, ...]) -> str:
    """Return the module path that the convs share, or all their names in a flat network."""
    paths = [conv.split(".") for conv in convs]
    common: list[str] = []
    for parts in zip(*(path[:-1] for path in paths), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common) or "+".join(convs)
