"""Rewrite a traced graph into one spelling: no keywords, no in-place operations, one flatten.

Each rewrite keeps the network's function.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from pyedge.cloud.graph.activation_spellings import recognise_activations
from pyedge.cloud.graph.layer_spellings import (
    expand_batch_norms,
    own_weights_as_layers,
    sums_of_stacks_as_sums,
)
from pyedge.cloud.graph.nodes import module_of, shape_of
from pyedge.cloud.graph.recognise import recognise_affines, recognise_channel_pads, recognise_relus
from pyedge.cloud.graph.rewrite import add_module, replace

_OUT_OF_PLACE_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.imul: operator.mul,
    operator.isub: operator.sub,
    operator.itruediv: operator.truediv,
    F.relu_: F.relu,
    F.leaky_relu_: F.leaky_relu,
    torch.sigmoid_: torch.sigmoid,
    torch.relu_: F.relu,
    torch.dropout_: F.dropout,
}
_OUT_OF_PLACE_METHODS = {
    "relu_": F.relu,
    "add_": torch.add,
    "mul_": torch.mul,
    "sub_": torch.sub,
    "div_": torch.div,
    "sigmoid_": torch.sigmoid,
}
# functions with an argument `inplace`
_WITH_INPLACE = {
    *(F.relu, F.relu6, F.dropout, F.leaky_relu, F.elu, F.silu, F.mish, F.hardtanh),
    *(F.hardswish, F.hardsigmoid),
}
_SQUEEZES = {"squeeze", "squeeze_", torch.squeeze}
_FLATTENS = {"view", "reshape", "flatten", torch.reshape, torch.flatten} | _SQUEEZES


def normalise(traced: fx.GraphModule) -> None:
    """Rewrite `traced` in place. Every node must have its shape; shapes must be redone after."""
    for node in traced.graph.nodes:
        _keywords_to_positions(node)
    _merge_repeats(traced)
    _drop_detach(traced)
    expand_batch_norms(traced)
    for node in list(traced.graph.nodes):
        _make_out_of_place(traced, node)
    for node in list(traced.graph.nodes):
        _normalise_dropout(traced, node)
        _normalise_flatten(node)
        _normalise_subsampling(traced, node)
        _normalise_factor(node)
    own_weights_as_layers(traced)
    sums_of_stacks_as_sums(traced)
    # what is recognised by running the graph needs it whole
    traced.graph.eliminate_dead_code()
    traced.recompile()
    recognise_channel_pads(traced)
    recognise_relus(traced)
    recognise_activations(traced)
    recognise_affines(traced)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()


def _drop_detach(traced: fx.GraphModule) -> None:
    """Drop x.detach(): it changes no answer, and would hide which layers are coupled."""
    for node in list(traced.graph.nodes):
        if node.op == "call_method" and node.target == "detach":
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)


def _merge_repeats(traced: fx.GraphModule) -> None:
    """Call a linear layer once if a network calls it twice on the same input, as with `where`.

    Nothing else is merged: batch norm counts its calls, and dropout draws anew in each.
    """
    seen: dict[tuple[Any, ...], fx.Node] = {}
    for node in list(traced.graph.nodes):
        linear = isinstance(module_of(node), nn.Linear) or node.target is F.linear
        if not (linear or node.op == "get_attr"):
            continue
        key = (node.op, node.target, node.args, tuple(sorted(node.kwargs.items())))
        first = seen.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            traced.graph.erase_node(node)


def _keywords_to_positions(node: fx.Node) -> None:
    """Turn F.relu(input=x) into F.relu(x), so that tensors are always in node.args."""
    if not any(isinstance(value, fx.Node) for value in node.kwargs.values()):
        return
    args, kwargs = list(node.args), dict(node.kwargs)
    for name in _parameter_names(node)[len(args) :]:
        if name not in kwargs:
            break
        args.append(kwargs.pop(name))
    node.args, node.kwargs = tuple(args), kwargs


def _parameter_names(node: fx.Node) -> list[str]:
    module = module_of(node)
    target: Any = node.target if module is None else module.forward
    if node.op == "call_method":
        return ["self", "other"]
    try:
        parameters = inspect.signature(target).parameters.values()
    except ValueError:  # a builtin of torch
        return ["input", "other"]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters if parameter.kind in positional]


def _make_out_of_place(traced: fx.GraphModule, node: fx.Node) -> None:
    """Turn an in-place operation into its plain twin; later readers read the new value."""
    module = module_of(node)
    target: Any
    if node.op == "call_function" and node.target in _OUT_OF_PLACE_FUNCTIONS:
        target = _OUT_OF_PLACE_FUNCTIONS[node.target]
        args, kwargs = node.args, node.kwargs
    elif node.op == "call_method" and node.target in _OUT_OF_PLACE_METHODS:
        target = _OUT_OF_PLACE_METHODS[str(node.target)]
        args, kwargs = node.args, node.kwargs
    elif node.op == "call_function" and _inplace_argument(node):
        target = node.target
        # a positional in-place flag comes last; the plain default is out of place
        place = _parameter_names(node).index("inplace")
        args = node.args[:place]
        kwargs = {key: value for key, value in node.kwargs.items() if key != "inplace"}
    elif module is not None and getattr(module, "inplace", False):
        _redirect_later_readers(node)
        twin = type(module).__new__(type(module))
        nn.Module.__init__(twin)
        twin.__dict__.update({k: v for k, v in module.__dict__.items() if not k.startswith("_")})
        twin.inplace = False  # type: ignore[assignment]
        node.target = add_module(traced, str(node.target).replace(".", "_"), twin)
        return
    else:
        return
    _redirect_later_readers(node)
    replace(node, "call_function", target, args, kwargs)


def _inplace_argument(node: fx.Node) -> bool:
    if node.target not in _WITH_INPLACE:
        return False
    place = _parameter_names(node).index("inplace")
    return bool(node.kwargs.get("inplace")) or (len(node.args) > place and bool(node.args[place]))


def _redirect_later_readers(node: fx.Node) -> None:
    """Let readers of the overwritten tensor after `node` read the value written by `node`."""
    overwritten = node.args[0]
    if not isinstance(overwritten, fx.Node):
        return
    order = {each: place for place, each in enumerate(node.graph.nodes)}
    for reader in list(overwritten.users):
        if order[reader] > order[node]:
            reader.replace_input_with(overwritten, node)


def _normalise_dropout(traced: fx.GraphModule, node: fx.Node) -> None:
    """Turn F.dropout, whose mode is fixed when traced, into nn.Dropout, which follows train()."""
    if node.op != "call_function" or node.target not in (F.dropout, F.dropout2d, torch.dropout):
        return
    p = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
    kind = nn.Dropout2d if node.target is F.dropout2d else nn.Dropout
    name = add_module(traced, "dropout", kind(float(p)).eval())  # type: ignore[arg-type]
    replace(node, "call_module", name, (node.args[0],))


def _normalise_flatten(node: fx.Node) -> None:
    """Turn x.view(-1, 640), whose width pruning changes, into torch.flatten(x, 1).

    A squeeze() also removes a batch of one image, though only the other sizes are meant.
    """
    if node.op not in ("call_method", "call_function") or node.target not in _FLATTENS:
        return
    source = node.args[0]
    if not isinstance(source, fx.Node):
        return
    before, after = shape_of(source), shape_of(node)
    kind: Any
    args: tuple[Any, ...]
    if len(before) == 4 and after == (before[0], before[1] * before[2] * before[3]):
        kind, args = torch.flatten, (source, 1)
    elif node.target in _SQUEEZES and len(node.args) == 1 and not node.kwargs:
        ones = tuple(dim for dim in range(1, len(before)) if before[dim] == 1)
        kind, args = torch.squeeze, (source, ones)
    else:
        return
    if node.target == "squeeze_":
        _redirect_later_readers(node)
    replace(node, "call_function", kind, args)


def _normalise_factor(node: fx.Node) -> None:
    """Turn numbers for each channel n c, made n c 1 1 or n c h w in any way, into n c 1 1.

    Products broadcast, so x * y.expand_as(x) is x * y; sizes in a view would not follow a cut.
    """
    source = node.args[0] if node.args else None
    if node.op not in ("call_method", "call_function") or not isinstance(source, fx.Node):
        return
    before, after = shape_of(source), shape_of(node)
    name = getattr(node.target, "__name__", node.target)
    if name in ("view", "reshape", "getitem", "unflatten") and after == (*before, 1, 1):
        if len(before) == 2:
            inner = replace(node, "call_function", torch.unsqueeze, (source, 2))
            outer = node.graph
            with outer.inserting_after(inner):
                last = outer.call_function(torch.unsqueeze, (inner, 3))
            inner.replace_all_uses_with(last, delete_user_cb=lambda user: user is not last)
            last.meta.update(inner.meta)
            inner.meta["shape"] = (*before, 1)
    elif name in ("view", "reshape") and len(after) == 4 and before == after:
        node.replace_all_uses_with(source)
    elif name in ("expand", "expand_as") and len(after) == 4 and before == (*after[:2], 1, 1):
        products = [user for user in node.users if _is_product(user, after)]
        for user in products:
            user.replace_input_with(node, source)


def _is_product(node: fx.Node, shape: tuple[int, ...]) -> bool:
    maps = [arg for arg in node.all_input_nodes if shape_of(arg) == shape]
    name = getattr(node.target, "__name__", node.target)
    return name == "mul" and len(maps) == 2 and shape_of(node) == shape


def _normalise_subsampling(traced: fx.GraphModule, node: fx.Node) -> None:
    """Turn x[:, :, ::2, ::2] into an average pool with a window of one."""
    if node.op != "call_function" or node.target is not operator.getitem:
        return
    index = node.args[1]
    whole = slice(None, None, None)
    if not (isinstance(index, tuple) and len(index) == 4 and index[:2] == (whole, whole)):
        return
    steps = [part.step for part in index[2:] if isinstance(part, slice)]
    starts = [part.start or 0 for part in index[2:] if isinstance(part, slice)]
    stops = [part.stop for part in index[2:] if isinstance(part, slice)]
    if len(steps) != 2 or starts != [0, 0] or stops != [None, None]:
        return
    if not all(isinstance(step, int) and step > 0 for step in steps):
        return
    stride = (steps[0], steps[1])
    name = add_module(traced, "subsample", nn.AvgPool2d(1, stride))
    replace(node, "call_module", name, (node.args[0],))
