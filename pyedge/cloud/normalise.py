"""Rewrite a traced graph into one spelling: no in-place operations, one flatten, one pad.

Each rewrite keeps the network's function; those that are recognised by what they compute
(zero-padded shortcuts) are checked on numbers first.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from pyedge.cloud.channel_pad import ChannelPad
from pyedge.cloud.nodes import inputs_of, module_of, shape_of
from pyedge.errors import StructureError

_OUT_OF_PLACE_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.imul: operator.mul,
    operator.isub: operator.sub,
    F.relu_: F.relu,
    torch.relu_: F.relu,
    torch.dropout_: F.dropout,
}
_OUT_OF_PLACE_METHODS = {"relu_": F.relu, "add_": torch.add, "mul_": torch.mul, "sub_": torch.sub}
_FLATTENS = {"view", "reshape", "flatten", "squeeze"}


def normalise(traced: fx.GraphModule) -> None:
    """Rewrite `traced` in place. Every node must have its shape; shapes must be redone after."""
    _expand_batch_norms(traced)
    for node in list(traced.graph.nodes):
        _make_out_of_place(traced, node)
    for node in list(traced.graph.nodes):
        _normalise_dropout(traced, node)
        _normalise_flatten(node)
        _normalise_subsampling(traced, node)
    _normalise_channel_pads(traced)
    traced.graph.eliminate_dead_code()
    traced.graph.lint()
    traced.recompile()
    _refuse_functional_layers(traced)


def device_of(module: nn.Module) -> torch.device:
    """The device of the first parameter or buffer, the CPU without any."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def add_module(traced: fx.GraphModule, name: str, module: nn.Module) -> str:
    """Add `module` under a free name near `name`, and return it."""
    taken = {path for path, _ in traced.named_modules()} | set(traced._modules)
    base, count = "pyedge_" + name, 0
    free = base
    while free in taken:
        count += 1
        free = f"{base}_{count}"
    traced.add_submodule(free, module)
    return free


def _replace(node: fx.Node, make: Callable[[fx.Graph], fx.Node]) -> fx.Node:
    graph = node.graph
    with graph.inserting_after(node):
        new = make(graph)
    node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    new.meta.update(node.meta)
    graph.erase_node(node)
    return new


def _expand_batch_norms(traced: fx.GraphModule) -> None:
    """Split batch norms with an activation inside (timm's BatchNormAct2d) into two."""
    for node in list(traced.graph.nodes):
        module = module_of(node)
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if type(module).forward is nn.BatchNorm2d.forward or type(module).forward.__module__ in (
            "torch.nn.modules.batchnorm",
        ):
            continue
        plain = _plain_batch_norm(module)
        inner = [child for child in module.children() if not isinstance(child, nn.Identity)]
        probe = torch.randn(shape_of(node.all_input_nodes[0])).to(device_of(traced))
        with torch.no_grad():
            got = plain(probe)
            for child in inner:
                got = child(got)
            same = torch.allclose(got, module(probe), atol=1e-5)
        if not same:
            raise StructureError(
                f"{node.target} ({type(module).__name__}) is a batch norm with a forward of its "
                "own that is not batch norm followed by its activation"
            )
        source = node.all_input_nodes[0]
        name = add_module(traced, str(node.target).replace(".", "_"), plain)
        with traced.graph.inserting_before(node):
            last = traced.graph.call_module(name, (source,))
            last.meta.update(node.meta)
            for child in inner:
                last = traced.graph.call_module(add_module(traced, name + "_act", child), (last,))
                last.meta.update(node.meta)
        node.replace_all_uses_with(last)
        traced.graph.erase_node(node)


def _plain_batch_norm(module: nn.modules.batchnorm._BatchNorm) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(
        module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
    )
    plain._parameters.update(module._parameters)  # shared, so that the owner goes on training
    plain._buffers.update(module._buffers)
    return plain.train(module.training)


def _make_out_of_place(traced: fx.GraphModule, node: fx.Node) -> None:
    """Turn an in-place operation into its plain twin; later readers read the new value."""
    module = module_of(node)
    if node.op == "call_function" and node.target in _OUT_OF_PLACE_FUNCTIONS:
        target = _OUT_OF_PLACE_FUNCTIONS[node.target]
        args, kwargs = node.args, node.kwargs
    elif node.op == "call_method" and node.target in _OUT_OF_PLACE_METHODS:
        target = _OUT_OF_PLACE_METHODS[str(node.target)]
        args, kwargs = node.args, node.kwargs
    elif node.op == "call_function" and _inplace_argument(node):
        target = node.target
        # positional in-place flags come last; the plain default is out of place
        args = node.args[: -1 if node.args[-1] is True else None]
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
    _replace(node, lambda graph: graph.call_function(target, args, kwargs))


def _inplace_argument(node: fx.Node) -> bool:
    if node.target not in (F.relu, F.relu6, F.dropout, F.leaky_relu, F.elu, F.silu, F.hardtanh):
        return False
    return bool(node.kwargs.get("inplace")) or (
        node.target in (F.relu, F.relu6) and len(node.args) > 1 and node.args[1] is True
    )


def _redirect_later_readers(node: fx.Node) -> None:
    """Whoever reads the overwritten tensor after `node` gets the value written by `node`."""
    overwritten = node.args[0]
    if not isinstance(overwritten, fx.Node):
        return
    order = {each: place for place, each in enumerate(node.graph.nodes)}
    for reader in list(overwritten.users):
        if order[reader] > order[node]:
            reader.replace_input_with(overwritten, node)


def _normalise_dropout(traced: fx.GraphModule, node: fx.Node) -> None:
    """F.dropout fixes its mode when traced; nn.Dropout follows train() and eval()."""
    if node.op != "call_function" or node.target not in (F.dropout, F.dropout2d, torch.dropout):
        return
    p = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
    kind = nn.Dropout2d if node.target is F.dropout2d else nn.Dropout
    name = add_module(traced, "dropout", kind(float(p)).eval())  # type: ignore[arg-type]
    _replace(node, lambda graph: graph.call_module(name, (node.args[0],)))


def _normalise_flatten(node: fx.Node) -> None:
    """x.view(-1, 640) holds a width that pruning changes; torch.flatten(x, 1) does not."""
    reshapes = (node.op == "call_method" and node.target in _FLATTENS) or (
        node.op == "call_function" and node.target in (torch.reshape, torch.flatten, torch.squeeze)
    )
    if not reshapes or not isinstance(node.args[0], fx.Node):
        return
    before, after = shape_of(node.args[0]), shape_of(node)
    if len(before) == 4 and after == (before[0], before[1] * before[2] * before[3]):
        _replace(node, lambda graph: graph.call_function(torch.flatten, (node.args[0], 1)))


def _normalise_subsampling(traced: fx.GraphModule, node: fx.Node) -> None:
    """x[:, :, ::2, ::2] is an average pool with a window of one."""
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
    _replace(node, lambda graph: graph.call_module(name, (node.args[0],)))


def _normalise_channel_pads(traced: fx.GraphModule) -> None:
    """Find nodes that only place channels among zeros, whatever their spelling."""
    candidates = {node: _narrower_inputs(node) for node in traced.graph.nodes}
    candidates = {node: sources for node, sources in candidates.items() if sources}
    if not candidates:
        return
    placeholder = next(node for node in traced.graph.nodes if node.op == "placeholder")
    generator = torch.Generator().manual_seed(0)
    device = device_of(traced)
    probe = torch.randn(shape_of(placeholder), generator=generator).to(device)
    seen = _values(traced, probe, {}, {s for sources in candidates.values() for s in sources})
    # cat([zeros, x]) and cat([x, 0 * x]): the source is the operand that is not all zero
    source_of = {}
    for node, sources in candidates.items():
        live = [source for source in sources if seen[source].any()]
        if len(live) == 1:
            source_of[node] = live[0]
    # fresh noise in the source's place, so that a dead channel cannot hide where it goes
    noise = {
        source: torch.randn(shape_of(source), generator=generator).to(device)
        for source in source_of.values()
    }
    seen = _values(traced, probe, noise, set(source_of))
    for node, source in source_of.items():
        position = _channel_positions(noise[source], seen[node])
        if position is None:
            continue
        pad = ChannelPad(position, shape_of(node)[1]).to(device)
        name = add_module(traced, "channel_pad", pad)
        _replace(node, lambda graph, name=name, source=source: graph.call_module(name, (source,)))


def _narrower_inputs(node: fx.Node) -> list[fx.Node]:
    """The inputs that `node` may have padded with zero channels, by shapes alone."""
    module = module_of(node)
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, ChannelPad)):
        return []
    shape = shape_of(node)
    if len(shape) != 4:
        return []
    return [
        source
        for source in inputs_of(node)
        if len(before := shape_of(source)) == 4 and before[1] < shape[1] and before[2:] == shape[2:]
    ]


def _channel_positions(source: torch.Tensor, padded: torch.Tensor) -> list[int] | None:
    """Where each source channel stands in `padded`, None unless all the rest is zero."""
    inputs = source.transpose(0, 1).flatten(1)
    outputs = padded.transpose(0, 1).flatten(1)
    position = [-1] * len(inputs)
    unused = set(range(len(inputs)))
    for channel, values in enumerate(outputs):
        if not values.any():
            continue
        match = next((i for i in sorted(unused) if torch.equal(inputs[i], values)), None)
        if match is None:
            return None
        unused.discard(match)
        position[match] = channel
    return position


def _values(
    traced: fx.GraphModule,
    probe: torch.Tensor,
    given: dict[fx.Node, torch.Tensor],
    wanted: set[fx.Node],
) -> dict[fx.Node, torch.Tensor]:
    """Run the graph on `probe` with the values in `given` put in, and return those `wanted`."""
    seen: dict[fx.Node, torch.Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, node: fx.Node) -> Any:
            value = super().run_node(node)
            value = given.get(node, value)
            if node in wanted:
                seen[node] = value
            return value

    with torch.no_grad():
        Recorder(traced).run(probe)
    return seen


def _refuse_functional_layers(traced: fx.GraphModule) -> None:
    for node in traced.graph.nodes:
        if node.op == "call_function" and node.target in (
            F.conv2d,
            torch.conv2d,
            F.batch_norm,
            torch.batch_norm,
            F.linear,
        ):
            kind = getattr(node.target, "__name__", "a layer")
            raise StructureError(
                f"the network calls {kind} on a weight of its own ({node.name}); its filters can "
                "only be pruned in nn.Conv2d, nn.BatchNorm2d and nn.Linear modules"
            )
