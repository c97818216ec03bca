"""Rewrite other spellings of layers into nn.Conv2d, nn.Linear, batch norm and sums."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from pyedge.cloud.graph.nodes import module_of, shape_of
from pyedge.cloud.graph.rewrite import add_module, device_of, replace
from pyedge.errors import StructureError

_CONV_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_LINEAR_ARGUMENTS = ("input", "weight", "bias")


def expand_batch_norms(traced: fx.GraphModule) -> None:
    """Split batch norms with an activation inside (timm's BatchNormAct2d) into two."""
    for node in list(traced.graph.nodes):
        module = module_of(node)
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if type(module).forward.__module__ == "torch.nn.modules.batchnorm":
            continue
        source = node.all_input_nodes[0]
        plain = _plain_batch_norm(module)
        probe = torch.randn(shape_of(source)).float().to(device_of(traced))
        activation = _activation_inside(module, plain, probe)
        if activation is None:
            raise StructureError(
                f"{node.target} ({type(module).__name__}) is a batch norm with a forward of its "
                "own that is not batch norm followed by ReLU or by its activation module"
            )
        name = add_module(traced, str(node.target).replace(".", "_"), plain)
        with traced.graph.inserting_before(node):
            last = traced.graph.call_module(name, (source,))
            last.meta.update(node.meta)
            for step in activation:
                if isinstance(step, nn.Module):
                    step_name = add_module(traced, name + "_act", step)
                    last = traced.graph.call_module(step_name, (last,))
                else:
                    last = traced.graph.call_function(step, (last,))
                last.meta.update(node.meta)
        node.replace_all_uses_with(last)
        traced.graph.erase_node(node)


def _activation_inside(
    module: nn.Module, plain: nn.Module, probe: torch.Tensor
) -> list[Callable[..., Any]] | None:
    """Return what follows the batch norm inside `module`: children, a ReLU, nothing; or None."""
    children = [child for child in module.children() if not isinstance(child, nn.Identity)]
    candidates: list[list[Callable[..., Any]]] = [[*children], [], [F.relu], [F.relu6]]
    with torch.no_grad():
        wanted = module(probe)
        for steps in candidates:
            got = plain(probe)
            for step in steps:
                got = step(got)
            if torch.allclose(got, wanted, atol=1e-5):
                return steps
    return None


def _plain_batch_norm(module: nn.modules.batchnorm._BatchNorm) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(
        module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
    )
    plain._parameters.update(module._parameters)  # shared, so that the owner goes on training
    plain._buffers.update(module._buffers)
    return plain.train(module.training)


def own_weights_as_layers(traced: fx.GraphModule) -> None:
    """Turn F.conv2d(x, self.weight, ...) into an nn.Conv2d with that parameter; likewise linear.

    Raises StructureError for weights that are computed in forward, such as standardised ones.
    """
    for node in list(traced.graph.nodes):
        if node.op != "call_function":
            continue
        kind = getattr(node.target, "__name__", "")
        layer: nn.Module | None
        if kind == "conv2d":
            given = _arguments(traced, node, _CONV_ARGUMENTS)
            layer = _conv(given)
        elif kind == "linear":
            given = _arguments(traced, node, _LINEAR_ARGUMENTS)
            layer = _linear(given)
        elif kind == "prelu":
            given = _arguments(traced, node, ("input", "weight"))
            if not isinstance(given["weight"], nn.Parameter):
                continue  # no filter of it to lose
            layer = nn.PReLU(given["weight"].numel()).eval()
            layer.weight = given["weight"]
        elif kind == "batch_norm":
            given, layer = {}, None
        else:
            continue
        if layer is None:
            raise StructureError(
                f"the network calls {kind} ({node.name}) on what is computed in forward or lies in "
                "a buffer, as weight standardisation and blur pooling do; filters can only be "
                "pruned in nn.Conv2d, nn.BatchNorm2d and nn.Linear modules"
            )
        weight = node.args[1] if len(node.args) > 1 else node.kwargs["weight"]
        name = _install(traced, str(weight.target), layer)
        replace(node, "call_module", name, (given["input"],))


def _arguments(traced: fx.GraphModule, node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the call's arguments by name, with parameters instead of the nodes that fetch them."""
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    for name in ("weight", "bias"):
        fetch = given.get(name)
        if isinstance(fetch, fx.Node) and fetch.op == "get_attr":
            path, _, last = str(fetch.target).rpartition(".")
            given[name] = getattr(traced.get_submodule(path), last)
    return given


def _conv(given: dict[str, Any]) -> nn.Conv2d | None:
    weight, bias = given["weight"], given.get("bias")
    if not isinstance(weight, nn.Parameter) or not isinstance(bias, (nn.Parameter, type(None))):
        return None
    groups = given.get("groups", 1)
    conv = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),  # type: ignore[arg-type]
        given.get("stride", 1),
        given.get("padding", 0),
        given.get("dilation", 1),
        groups,
        bias is not None,
        device="meta",
    )
    conv.weight, conv.bias = weight, bias
    return conv.eval()


def _linear(given: dict[str, Any]) -> nn.Linear | None:
    weight, bias = given["weight"], given.get("bias")
    if not isinstance(weight, nn.Parameter) or not isinstance(bias, (nn.Parameter, type(None))):
        return None
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight, linear.bias = weight, bias  # type: ignore[assignment]
    return linear.eval()


def _install(traced: fx.GraphModule, weight: str, layer: nn.Module) -> str:
    """Put the layer in the place of its weight, if that was a module of its own."""
    owner = weight.rpartition(".")[0]
    if weight.endswith(".weight") and not any(True for _ in traced.get_submodule(owner).children()):
        traced.add_submodule(owner, layer)
        return owner
    return add_module(traced, weight.replace(".", "_"), layer)


def sums_of_stacks_as_sums(traced: fx.GraphModule) -> None:
    """Turn torch.stack([a, b]).sum(0) into a + b, and 0 + a, which sum() writes, into a."""
    for node in list(traced.graph.nodes):
        name = getattr(node.target, "__name__", node.target)
        if name in ("add", "radd") and len(node.args) == 2 and len(node.all_input_nodes) == 1:
            if any(isinstance(arg, (int, float)) and arg == 0 for arg in node.args):
                node.replace_all_uses_with(node.all_input_nodes[0])
                traced.graph.erase_node(node)
        elif name == "sum" and _is_over_first(node) and len(node.all_input_nodes) == 1:
            stack = node.all_input_nodes[0]
            if getattr(stack.target, "__name__", "") != "stack" or not _is_over_first(stack, True):
                continue
            first, *rest = stack.args[0]
            with traced.graph.inserting_before(node):
                for operand in rest:
                    first = traced.graph.call_function(operator.add, (first, operand))
                    first.meta.update(node.meta)
            node.replace_all_uses_with(first)
            traced.graph.erase_node(node)


def _is_over_first(node: fx.Node, default: bool = False) -> bool:
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return default if dim is None else dim in (0, (0,), [0])
