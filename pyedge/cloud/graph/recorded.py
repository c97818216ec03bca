"""A graph and its layers as plain values, and back: what a student is built from without tracing.

A record holds `name` (of the network's class), `nodes` in order ([name, op, target, args, kwargs],
as torch.fx has them), `layers` ([kind, settings] by name, see `recorded_layers`) and `tensors` that
nodes fetch from outside any layer ([parameter or buffer, dtype, sizes] by name). It holds no
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from pyedge.cloud.graph.recorded_layers import build_layer, record_layer
from pyedge.cloud.graph.recorded_values import (
    check_call,
    check_method,
    check_path,
    check_word,
    dtype_of,
    function_of,
    name_of_function,
    plain,
    shown,
    value_of,
)

_MOST_NODES = 1 << 16
_LARGEST = 1 << 31


def record_graph(net: fx.GraphModule) -> dict[str, Any]:
    """Return the record of `net`.

    Raises ValueError, naming it, for an operation, a layer or an argument that files cannot hold,
    and for weights under two names.
    """
    names = [name for name, _ in net.named_parameters(remove_duplicate=False)]
    if len(names) != sum(1 for _ in net.parameters()):
        raise ValueError("two layers share their weights")
    nodes: list[list[Any]] = []
    layers: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    for node in net.graph.nodes:
        target: Any = node.target
        if node.op == "call_function":
            target = name_of_function(target)
        elif node.op == "call_module":
            layers[target] = record_layer(net.get_submodule(target))
        elif node.op == "get_attr":
            tensors[target] = _record_tensor(_tensor_at(net, target))
        args = [plain(value) for value in node.args]
        kwargs = {name: plain(value) for name, value in node.kwargs.items()}
        nodes.append([node.name, node.op, target, args, kwargs])
    for name in [name for name in tensors if name.rpartition(".")[0] in layers]:
        del tensors[name]  # a weight that is read beside its layer
    name = type(net).__name__
    return {"name": name, "nodes": nodes, "layers": layers, "tensors": tensors}


def build_graph(record: Any) -> fx.GraphModule:
    """Build the network of a record, in eval mode; its tensors have sizes, but no values.

    They are on the meta device, except those of ChannelPad. The network has not run yet (see
    `dry_run`). Raises ValueError for anything but a record.
    """
    name, nodes, layers, tensors = fields_of(
        record, {"name": str, "nodes": list, "layers": dict, "tensors": dict}
    )
    check_word(name)
    root = nn.Module()
    for path, layer in layers.items():
        _place(root, path, build_layer(layer))
    for path, tensor in tensors.items():
        _place(root, path, _build_tensor(path, tensor))
    if len(nodes) > _MOST_NODES:
        raise ValueError(f"wanted at most {_MOST_NODES} nodes, got {len(nodes)}")
    graph = fx.Graph()
    known: dict[str, fx.Node] = {}
    for row in nodes:
        node = _build_node(graph, row, known, root)
        known[node.name] = node
    _check_ends(nodes)
    try:
        graph.lint()
        return fx.GraphModule(root, graph, class_name=name).float().eval()
    except Exception as error:  # of torch.fx's own checks, and of the code that it makes
        raise ValueError(f"nodes: torch.fx makes no network of them: {error}") from error


def fields_of(record: Any, wanted: Mapping[str, type]) -> list[Any]:
    """Return the values of a record with exactly these fields of these types; else ValueError."""
    if not isinstance(record, dict) or record.keys() != wanted.keys():
        came = list(record) if isinstance(record, dict) else record
        raise ValueError(f"wanted the fields {', '.join(wanted)}, got {shown(came)}")
    for name, kind in wanted.items():
        if type(record[name]) is not kind:
            raise ValueError(f"{name}: wanted a {kind.__name__}, got {shown(record[name])}")
    return [record[name] for name in wanted]


def _build_node(
    graph: fx.Graph, row: Any, known: Mapping[str, fx.Node], root: nn.Module
) -> fx.Node:
    if not (isinstance(row, list) and len(row) == 5):
        raise ValueError(f"nodes: wanted [name, op, target, args, kwargs], got {shown(row)}")
    name, op, target, args, kwargs = row
    check_word(name)
    if not (type(args) is list and type(kwargs) is dict):
        raise ValueError(
            f"node {name}: wanted a list and a dict of arguments, got {shown(row[3:])}"
        )
    try:
        given = tuple(value_of(value, known) for value in args)
        named = {check_word(key): value_of(value, known) for key, value in kwargs.items()}
        if named and op not in ("call_function", "call_method", "call_module"):
            raise ValueError(f"wanted no keywords of {shown(op)}, got {shown(kwargs)}")
        found = _target(op, target, given, root)
    except ValueError as error:
        raise ValueError(f"node {name}: {error}") from error
    node = graph.create_node(op, found, given, named, name=name)
    if node.name != name:
        raise ValueError(f"node {name}: wanted a name of its own that Python has no other use for")
    return node


def _target(op: Any, target: Any, args: tuple[Any, ...], root: nn.Module) -> Any:
    if op == "call_function":
        function = function_of(target)
        check_call(function, args)
        return function
    if op == "call_method":
        return check_method(target)
    if op == "call_module":
        layer = _at(root, check_path(target))
        if not isinstance(layer, nn.Module) or any(True for _ in layer.children()):
            raise ValueError(f"wanted the name of one of the layers, got {target}")
        return target
    if op == "get_attr" and not args:
        if not isinstance(_at(root, check_path(target)), torch.Tensor):
            raise ValueError(f"wanted the name of a tensor, got {target}")
        return target
    if op == "placeholder" and not args:
        return check_word(target)
    if op == "output" and len(args) == 1:
        return "output"
    raise ValueError(f"wanted an operation of torch.fx and its arguments, got {shown(op)}")


def _check_ends(nodes: list[list[Any]]) -> None:
    ends = [place for place, row in enumerate(nodes) if row[1] in ("placeholder", "output")]
    if len(nodes) < 2 or ends != [0, len(nodes) - 1] or nodes[0][1] != "placeholder":
        raise ValueError("nodes: wanted one input, the first node, and one output, the last")


def _record_tensor(value: torch.Tensor) -> list[Any]:
    kind = "parameter" if isinstance(value, nn.Parameter) else "buffer"
    # files hold every float as float32
    dtype = torch.float32 if value.is_floating_point() else value.dtype
    return [kind, str(dtype).removeprefix("torch."), list(value.shape)]


def _build_tensor(path: Any, recorded: Any) -> torch.Tensor:
    if isinstance(recorded, list) and len(recorded) == 3 and type(recorded[2]) is list:
        kind, dtype, shape = recorded
        whole = all(type(size) is int and 0 <= size < _LARGEST for size in shape)
        if kind in ("parameter", "buffer") and whole and len(shape) <= 8:
            value = torch.empty(shape, dtype=dtype_of(dtype), device="meta")
            learns = kind == "parameter" and value.is_floating_point()
            return nn.Parameter(value) if learns else value
    raise ValueError(
        f"tensor {shown(path)}: wanted [parameter or buffer, dtype, sizes], got {shown(recorded)}"
    )


def _tensor_at(net: nn.Module, path: str) -> torch.Tensor:
    value = _at(net, path)
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{path} is a {type(value).__name__}, and no tensor")
    return value


def _at(root: nn.Module, path: str) -> Any:
    value: Any = root
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _place(root: nn.Module, path: Any, value: nn.Module | torch.Tensor) -> None:
    """Put a layer or a tensor under a dotted name, inside plain modules."""
    owner, (*above, last) = root, check_path(path).split(".")
    for part in above:
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    if type(owner) is not nn.Module or hasattr(owner, last):
        raise ValueError(f"wanted a free name for a layer or tensor, got {path}")
    if isinstance(value, nn.Module):
        owner.add_module(last, value)
    elif isinstance(value, nn.Parameter):
        owner.register_parameter(last, value)
    else:
        owner.register_buffer(last, value)
