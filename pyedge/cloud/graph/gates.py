"""Gates: factors that a network computes from a map, one for each channel, and multiplies it by.

Squeeze-and-excitation (Hu et al. 2018) in any spelling: the map's means go through small layers
into a sigmoid. A gate has as many channels as its map, and loses them with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn

from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.nodes import inputs_of, module_of, shape_of
from pyedge.errors import StructureError

_ELEMENTWISE = {
    *("add", "sub", "mul", "div", "truediv", "neg", "clamp", "clamp_min", "clamp_max", "clip"),
    *("sigmoid", "hardsigmoid", "relu", "relu6", "silu", "hardswish", "gelu", "leaky_relu"),
    *("tanh", "softplus", "exp", "elu", "prelu", "mish", "contiguous", "float"),
}
_POOLS = {"mean", "amax", "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d"}
_LAYOUTS = {"flatten", "squeeze", "unsqueeze", "expand", "expand_as"}
_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.Mish),
    *(nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardtanh, nn.Softplus),
)


@dataclass(frozen=True)
class Gate:
    """product = map * factor. inside: what computes the factor from the map, with the factor."""

    product: fx.Node
    map: fx.Node
    factor: fx.Node
    inside: frozenset[fx.Node]


@dataclass(frozen=True)
class Gates:
    """All gates of a network, in order. inside: the nodes of all of them."""

    each: tuple[Gate, ...]
    inside: frozenset[fx.Node]

    def after(self, node: fx.Node) -> fx.Node | None:
        """Return the product in which `node` is scaled, if nothing else reads it; else None."""
        for gate in self.each:
            if gate.map is node and set(node.users) <= {*gate.inside, gate.product}:
                return gate.product
        return None

    def layers(self, kind: type[nn.Module]) -> tuple[str, ...]:
        """Return the names of the gates' layers of a kind, in order."""
        found = (str(n.target) for n in sorted(self.inside) if isinstance(module_of(n), kind))
        return tuple(dict.fromkeys(found))


def find_gates(traced: fx.GraphModule) -> Gates:
    """Find the gates of a traced network.

    Raises StructureError, in one sentence, for a product of maps that is no gate, and for a gate
    with a part in which channels cannot be followed.
    """
    gates = []
    for node in traced.graph.nodes:
        name = getattr(node.target, "__name__", node.target)
        operands = [arg for arg in node.all_input_nodes if len(shape_of(arg)) == 4]
        if len(shape_of(node)) != 4 or len(operands) != 2:
            continue
        if name == "mul":
            gates.append(_gate(node, *operands))
        elif name in ("matmul", "bmm"):
            raise _is_no_gate(node)
    inside = frozenset(node for gate in gates for node in gate.inside)
    return Gates(tuple(gates), inside)


def _gate(node: fx.Node, one: fx.Node, other: fx.Node) -> Gate:
    for source, factor in ((one, other), (other, one)):
        inside = _between(source, factor)
        if inside and shape_of(factor)[1:] == (shape_of(source)[1], 1, 1):
            for part in sorted(inside):
                _check_part(node, part, inside, source)
            return Gate(node, source, factor, frozenset(inside))
    raise _is_no_gate(node)


def _is_no_gate(node: fx.Node) -> StructureError:
    return StructureError(
        f"the network multiplies two maps that it computes itself ({node.name}), as gated "
        "activations and attention do; such blocks cannot be taken apart, except where one number "
        "for each channel, computed from the map alone, scales it (squeeze-and-excitation)"
    )


def _between(source: fx.Node, factor: fx.Node) -> set[fx.Node]:
    """Return the nodes on all paths from `source` to `factor`, with the latter alone."""
    reached = {source}
    stack = [source]
    while stack:
        for user in stack.pop().users:
            if user not in reached:
                reached.add(user)
                stack.append(user)
    return (reached & nodes.upstream(factor, stop=source)) - {source}


def _check_part(product: fx.Node, part: fx.Node, inside: set[fx.Node], source: fx.Node) -> None:
    foreign = [
        other
        for other in inputs_of(part)
        if other is not source and other not in inside and other.op != "get_attr"
    ]
    if foreign:
        raise StructureError(
            f"the gate of a product ({product.name}) is computed from {foreign[0].name} too, not "
            "from the map that it scales alone; such blocks cannot be taken apart"
        )
    if not _is_known(part):
        module = module_of(part)
        what = type(module).__name__ if module is not None else part.name
        raise StructureError(
            f"the gate of a product ({product.name}) goes through {what}, in which pyedge cannot "
            "follow the channels; of channel attention it takes squeeze-and-excitation: pooling, "
            "nn.Linear or 1x1 nn.Conv2d, activations"
        )


def _is_known(node: fx.Node) -> bool:
    module = module_of(node)
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and shape_of(node)[2:] == (1, 1)
    if module is not None:
        known = (nn.Linear, nn.BatchNorm1d, nn.Flatten, *_ACTIVATIONS, *nodes.POOLS)
        plain = isinstance(module, known) or nodes.is_channel_norm(node)
        return plain or nodes.is_content_free(node)
    name = getattr(node.target, "__name__", node.target)
    if name in _ELEMENTWISE | _LAYOUTS:
        return True
    if name in _POOLS:
        return shape_of(node)[1:2] == shape_of(node.all_input_nodes[0])[1:2]
    return not shape_of(node)  # sizes
