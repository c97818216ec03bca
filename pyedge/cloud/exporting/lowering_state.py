"""The state of a lowering, which each operator reads and adds to."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from pyedge.cloud.graph.answer import Ending, classifier_node, ending_between
from pyedge.cloud.graph.nodes import module_of, shape_of
from pyedge.cloud.graph.rewrite import constants
from pyedge.errors import ExportError
from pyedge.student.builder import GraphBuilder


class Lowering:
    """The state of one lowering: what each node of the torch graph became."""

    def __init__(
        self,
        net: fx.GraphModule,
        input_shape: tuple[int, int, int],
        example: Tensor,
        classifier: str,
    ) -> None:
        self.net = net
        self.classifier = classifier_node(net, classifier)
        self.input_shape = input_shape
        self.builder = GraphBuilder(input_shape)
        self.index: dict[fx.Node, int] = {}
        self.padding: dict[fx.Node, tuple[int, int]] = {}  # left to the convolutions that read it
        self.modules: dict[str, str] = {}
        self.constants = constants(net, example)
        self.ending = _ending(net, example)
        self._names: dict[str, str] = {}

    def outputs(self) -> list[fx.Node]:
        """The logits, and the tap of each group."""
        output = next(node for node in self.net.graph.nodes if node.op == "output")
        return list(output.args[0][1:])

    def node_name(self, module: str) -> str:
        return self._names[module.removeprefix("net.")]

    def remember(self, index: int, node: fx.Node, *, learns: bool) -> int:
        """Record the module of a node with weights, and refuse a second call of that module."""
        path = str(node.target)
        name = self.builder.nodes[index]["name"]
        if path in self._names:
            raise ExportError(
                f"{self.place(node)} cannot be exported: {path} is called twice, and its weights "
                "would have to learn in two places at once"
            )
        self._names[path] = name
        if learns:
            self.modules[name] = path
        return index

    def torch_shape(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape of one image's part of a torch tensor."""
        return shape_of(node)[1:]

    def name(self, node: fx.Node) -> str:
        """Return a name for a node without weights: its module's path, or its name in the trace."""
        return str(node.target) if node.op == "call_module" else node.name.removeprefix("model_")

    def place(self, node: fx.Node) -> str:
        """Name an operator and say where in the network it is."""
        return place(node)


def place(node: fx.Node) -> str:
    """Name an operator and say where in the network it is."""
    module = module_of(node)
    if module is not None:
        return f"operator {type(module).__name__} at {str(node.target)!r}"
    operator = getattr(node.target, "__name__", str(node.target))
    modules = [str(path) for path in node.meta.get("nn_module_stack", {})]
    inside = modules[-1].removeprefix("model").removeprefix(".") if modules else ""
    return f"operator {operator} (node {node.name!r}, in {inside or 'forward'})"


def _ending(net: fx.GraphModule, example: Tensor) -> Ending:
    with torch.no_grad():
        output, logits, *_ = net(example)
    return ending_between(logits, output)
