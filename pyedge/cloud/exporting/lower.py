"""Lower a student's torch.fx graph to the operators of a student file.

Operators that a file knows are translated one to one, in `operators`. A stretch of others (the many
spellings of a global pool, permutations that cancel out) is lowered as a whole if `probe` finds
that it computes something known. Anything else is an ExportError with its place in the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import fx, nn

from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting import operators, probe
from pyedge.cloud.exporting.lowering_state import Lowering
from pyedge.cloud.exporting.tail import lower_tail
from pyedge.cloud.graph.answer import Ending
from pyedge.cloud.graph.clone import private_copy
from pyedge.cloud.graph.nodes import module_of, shape_of
from pyedge.cloud.graph.trace import record_shapes
from pyedge.errors import ExportError, StructureError
from pyedge.student.operators import OPERATORS

_LEARNED_LAYERS = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)
_CASTS = ("float", "double", "type_as", "to")


@dataclass(frozen=True)
class Lowered:
    """A student as the nodes of a student file.

    last_convs, classifier: names of nodes. classes: the number of logits. ending: what `forward`
    makes of the logits. modules: for each node with weights that can learn, by name, its module in
    `net`; a node without a module has numbers that pyedge made. net: the copy of the student that
    was lowered, float32 on the CPU.
    """

    nodes: tuple[dict[str, Any], ...]
    arrays: dict[str, NDArray[Any]]
    input_shape: tuple[int, int, int]
    output: int
    taps: tuple[int, ...]
    last_convs: tuple[str, ...]
    classifier: str
    classes: int
    ending: Ending
    modules: dict[str, str]
    net: fx.GraphModule


def lower(student: Student, input_shape: Sequence[int] | None = None) -> Lowered:
    """Lower `student` for images c h w, by default of the shape it was compressed with.

    Raises ExportError for an operator that a student file does not have.
    """
    net = private_copy(student).cpu().get_submodule("net")
    assert isinstance(net, fx.GraphModule)
    shape = images_shape(net, input_shape)
    # three images: a number that pools and strides rarely have
    example = torch.randn(
        3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32
    )
    try:
        record_shapes(net, example)
        _drop_casts(net)
    except StructureError as error:
        raise ExportError(f"export: {error}") from error
    lowering = Lowering(net, shape, example, student.classifier.removeprefix("net."))
    _lower_all(lowering)
    return _result(lowering, student)


def _lower_all(lowering: Lowering) -> None:
    """Lower every node that the logits and the taps need."""
    outputs = lowering.outputs()
    behind = outputs[0] is not lowering.classifier and lowering.classifier not in outputs[1:]
    needed: set[fx.Node] = set()
    stack = [lowering.classifier, *outputs[1:]] if behind else list(outputs)
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            stack.extend(node.all_input_nodes)
    for node in lowering.net.graph.nodes:
        if node in needed and node not in lowering.constants:
            _lower_node(lowering, node)
    if behind and lowering.classifier in lowering.index:
        lowering.index[outputs[0]] = lower_tail(lowering, lowering.classifier, outputs[0])
    for node in [lowering.classifier, *outputs]:
        if node not in lowering.index:
            _refuse(lowering, node)


def _lower_node(lowering: Lowering, node: fx.Node) -> None:
    if node.op == "placeholder":
        lowering.index[node] = 0
        return
    try:
        index = operators.lower_node(lowering, node)
        if index is None:
            index = probe.lower_stretch(lowering, node)
    except ExportError:
        raise
    except ValueError as error:
        raise ExportError(f"{lowering.place(node)} cannot be exported: {error}") from error
    if index is None:
        if isinstance(module_of(node), _LEARNED_LAYERS):
            _refuse(lowering, node)
        return  # a part of a longer stretch, perhaps
    expected, got = lowering.torch_shape(node), lowering.builder.shape(index)
    if node not in lowering.padding and math.prod(expected) != math.prod(got):
        raise ExportError(
            f"{lowering.place(node)} cannot be exported: it gives {list(expected)}, but pyedge's "
            f"translation gives {list(got)}"
        )
    lowering.index[node] = index


def _result(lowering: Lowering, student: Student) -> Lowered:
    """Assemble the result."""
    logits, *taps = lowering.outputs()
    nodes, (output, *places) = lowering.builder.pruned(
        [lowering.index[logits], *(lowering.index[tap] for tap in taps)]
    )
    left = {node["name"] for node in nodes}
    return Lowered(
        nodes=tuple(nodes),
        arrays=lowering.builder.arrays,
        input_shape=lowering.input_shape,
        output=output,
        taps=tuple(places),
        last_convs=tuple(lowering.node_name(name) for name in student.last_convs),
        classifier=lowering.node_name(student.classifier),
        classes=lowering.builder.shape(lowering.index[logits])[0],
        ending=lowering.ending,
        modules={name: path for name, path in lowering.modules.items() if name in left},
        net=lowering.net,
    )


def _refuse(lowering: Lowering, node: fx.Node) -> None:
    """Raise an ExportError that names the first unknown operator on the way to `node`.

    It may be `node` itself.
    """
    stretch, _ = probe.stretch(lowering, node)
    first = next((each for each in stretch if each is not node), node)
    known = ", ".join(sorted(name for name in OPERATORS if name != "input"))
    raise ExportError(
        f"{lowering.place(first)} cannot be exported: a student file has the operators {known}, "
        "and none of them, nor several together, do the same"
    )


def images_shape(net: fx.GraphModule, given: Sequence[int] | None) -> tuple[int, int, int]:
    """Return c h w of the images: as given, or as the graph was traced with."""
    placeholder = next(node for node in net.graph.nodes if node.op == "placeholder")
    shape = (placeholder.meta.get("shape") or ())[1:] if given is None else tuple(given)
    if len(shape) != 3 or not all(type(size) is int and size > 0 for size in shape):
        raise ValueError(
            "export: input_shape: wanted (c, h, w) of the images that the student takes; this "
            f"student does not know it itself, got {given!r}"
        )
    return shape  # type: ignore[return-value]


def _drop_casts(net: fx.GraphModule) -> None:
    """Drop x.float() and x.to(...): the device uses float32 alone, and the check float64."""
    for node in list(net.graph.nodes):
        if node.op == "call_method" and node.target in _CASTS and len(shape_of(node)) > 1:
            node.replace_all_uses_with(node.args[0])
            net.graph.erase_node(node)
    net.recompile()
