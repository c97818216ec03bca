"""What a node of a traced graph is, whether a module, a function or a method."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import fx, nn

from pyedge.cloud.graph.channel_affine import ChannelAffine

# SyncBatchNorm is a batch norm too, and pruning works on it in the same way
CHANNEL_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d, ChannelAffine)
# these mix channels: filters that go would change what the ones that stay mean
_MIXING_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.CrossMapLRN2d)
_RELU_FUNCTIONS = {F.relu, F.relu_, torch.relu, torch.relu_}
_RELU6_FUNCTIONS = {F.relu6}
# these go to zero on one side, but are not exactly zero there (hard-swish only below -3)
_WEAK = (nn.SiLU, nn.Hardswish, nn.GELU, nn.Mish, nn.LeakyReLU, nn.PReLU)
_WEAK_FUNCTIONS = {F.silu, F.hardswish, F.gelu, F.mish, F.leaky_relu, F.prelu, torch.prelu}
_ADD_FUNCTIONS = {operator.add, operator.iadd, torch.add}
_ADD_METHODS = {"add", "add_"}
_CONTENT_FREE = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_POOL_FUNCTIONS = {
    F.max_pool2d,
    torch.max_pool2d,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
    F.adaptive_max_pool2d,
}


def module_of(node: fx.Node) -> nn.Module | None:
    """Return the module that `node` calls, or None."""
    if node.op != "call_module":
        return None
    owner = node.graph.owning_module
    return owner.get_submodule(str(node.target)) if owner is not None else None


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Return the node's shape, () if it is not a tensor."""
    return node.meta.get("shape") or ()


def is_conv(node: fx.Node) -> bool:
    return isinstance(module_of(node), nn.Conv2d)


def is_depthwise(node: fx.Node) -> bool:
    """Tell whether it is a convolution that filters each channel by itself."""
    return is_depthwise_conv(module_of(node))


def is_depthwise_conv(module: nn.Module | None) -> bool:
    """Tell whether a module is a convolution with one filter for each of its channels."""
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels == module.out_channels > 1
    )


def is_linear(node: fx.Node) -> bool:
    return isinstance(module_of(node), nn.Linear)


def is_channel_norm(node: fx.Node) -> bool:
    """Tell whether it treats each channel by itself, with one scale and shift for it."""
    return isinstance(module_of(node), CHANNEL_NORMS)


def is_relu(node: fx.Node) -> bool:
    """Tell whether it is an activation that makes exact zeros (ReLU, ReLU6)."""
    if node.op == "call_function":
        return node.target in _RELU_FUNCTIONS or node.target in _RELU6_FUNCTIONS
    if node.op == "call_method":
        return node.target in ("relu", "relu_")
    return isinstance(module_of(node), (nn.ReLU, nn.ReLU6))


def is_relu6(node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in _RELU6_FUNCTIONS
    return isinstance(module_of(node), nn.ReLU6)


def is_weak_activation(node: fx.Node) -> bool:
    """Tell whether it is an activation that is close to zero where a ReLU is zero.

    ELU and its kin are not: they end at -1, so that an idle filter is far from zero.
    """
    if node.op == "call_function":
        return node.target in _WEAK_FUNCTIONS
    if node.op == "call_method":
        return node.target == "prelu"
    return isinstance(module_of(node), _WEAK)


def is_activation(node: fx.Node) -> bool:
    """Tell whether it is an activation whose zeros, exact or nearly so, can be counted."""
    return is_relu(node) or is_weak_activation(node)


def is_add(node: fx.Node) -> bool:
    """Tell whether it is a sum of two feature maps n c h w."""
    if node.op == "call_function":
        named = node.target in _ADD_FUNCTIONS
    else:
        named = node.op == "call_method" and node.target in _ADD_METHODS
    operands = [arg for arg in node.args[:2] if isinstance(arg, fx.Node)]
    return named and len(operands) == 2 and all(len(shape_of(arg)) == 4 for arg in operands)


def is_pool(node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in _POOL_FUNCTIONS
    return isinstance(module_of(node), POOLS)


def is_content_free(node: fx.Node) -> bool:
    """Tell whether it changes nothing in eval mode (identity, dropout, stochastic depth)."""
    return isinstance(module_of(node), _CONTENT_FREE) or node.meta.get("random_identity", False)


def is_mixing_norm(node: fx.Node) -> bool:
    """Tell whether it normalises over several channels at once."""
    return isinstance(module_of(node), _MIXING_NORMS)


def is_scale(node: fx.Node) -> bool:
    """Tell whether it is a map multiplied or divided by one number."""
    if getattr(node.target, "__name__", node.target) not in ("mul", "truediv", "div"):
        return False
    others = [
        arg
        for arg in node.args
        if not (isinstance(arg, fx.Node) and shape_of(arg) == shape_of(node))
    ]
    if len(others) != 1:
        return False
    factor = others[0]
    if isinstance(factor, fx.Node):
        shape = factor.meta.get("shape")
        return shape is not None and math.prod(shape) == 1
    return isinstance(factor, (int, float))


def is_gating(node: fx.Node) -> bool:
    """Tell whether it is a map multiplied by one computed number for each of its channels."""
    if getattr(node.target, "__name__", node.target) != "mul" or len(shape_of(node)) != 4:
        return False
    operands = [arg for arg in node.all_input_nodes if len(shape_of(arg)) == 4]
    shape = shape_of(node)
    return len(operands) == 2 and all(
        shape_of(arg) in (shape, (*shape[:2], 1, 1)) for arg in operands
    )


def inputs_of(node: fx.Node) -> list[fx.Node]:
    """Return the nodes whose tensors `node` reads."""
    return [arg for arg in node.all_input_nodes if arg.meta.get("shape") is not None]


def upstream(node: fx.Node, stop: fx.Node) -> set[fx.Node]:
    """Return all nodes from which `node` is reached, with itself, but without `stop` and before."""
    seen: set[fx.Node] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current is stop or current in seen:
            continue
        seen.add(current)
        stack.extend(inputs_of(current))
    return seen


def in_order(nodes: set[fx.Node], graph: fx.Graph) -> Iterator[fx.Node]:
    """Return the nodes in the order of execution."""
    return (node for node in graph.nodes if node in nodes)


def immediate_dominators(graph: fx.Graph) -> dict[fx.Node, fx.Node | None]:
    """Return for each tensor node the nearest node that every path from the input passes.

    Nodes come in execution order, so one sweep suffices: the dominator of a node is the lowest
    common ancestor, in the dominator tree, of its inputs.
    """
    parent: dict[fx.Node, fx.Node | None] = {}
    depth: dict[fx.Node, int] = {}
    for node in graph.nodes:
        sources = [source for source in inputs_of(node) if source in depth]
        if node.op == "placeholder":
            parent[node], depth[node] = None, 0
        elif sources:
            meet = sources[0]
            for source in sources[1:]:
                meet = _meet(meet, source, parent, depth)
            parent[node], depth[node] = meet, depth[meet] + 1
    return parent


def _meet(
    a: fx.Node, b: fx.Node, parent: dict[fx.Node, fx.Node | None], depth: dict[fx.Node, int]
) -> fx.Node:
    while a is not b:
        if depth[a] < depth[b]:
            a, b = b, a
        above = parent[a]
        assert above is not None  # the input dominates everything in depth
        a = above
    return a
