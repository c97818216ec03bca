"""Recognise parts of a network, in any spelling, by what they compute on noise.

Zero-padded shortcuts become ChannelPad, home-made ReLUs F.relu or F.relu6, frozen batch norms
ChannelAffine. A part is replaced only if the result gives the same numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx, nn

from pyedge.cloud.graph.channel_affine import ChannelAffine
from pyedge.cloud.graph.channel_pad import ChannelPad
from pyedge.cloud.graph.nodes import inputs_of, is_relu, module_of, shape_of
from pyedge.cloud.graph.rewrite import (
    add_module,
    device_of,
    noise_like,
    random_input,
    replace,
    values,
)

_RELU_SPELLINGS = {
    *("clamp", "clamp_", "clamp_min", "clamp_min_", "clip", "clip_", "hardtanh", "hardtanh_"),
    *("threshold", "threshold_", "_threshold", "maximum", "max", "fmax", "where", "mul"),
    "masked_fill",
}


def recognise_relus(traced: fx.GraphModule) -> None:
    """Replace clamps, thresholds, maxima and products that are a ReLU or a ReLU6."""
    source_of = {}
    for node in traced.graph.nodes:
        sources = _operands(node)
        if sources and _may_be_relu(node) and not is_relu(node):
            source_of[node] = sources[0]
    if not source_of:
        return
    generator = torch.Generator().manual_seed(0)
    # wide enough that a ReLU6 is seen to end at 6
    noise = {
        source: 5 * noise_like(traced, source, generator) for source in set(source_of.values())
    }
    seen = values(traced, random_input(traced), noise, set(source_of))
    replaced: dict[fx.Node, fx.Node] = {}
    for node, source in source_of.items():
        for relu in (F.relu, F.relu6):
            if torch.equal(seen[node], relu(noise[source])):
                x = replaced.get(source, source)
                replaced[node] = replace(node, "call_function", relu, (x,))
                break


def _may_be_relu(node: fx.Node) -> bool:
    if isinstance(module_of(node), (nn.Threshold, nn.Hardtanh)):
        return True
    name = getattr(node.target, "__name__", str(node.target))
    return node.op in ("call_function", "call_method") and name in _RELU_SPELLINGS


def _operands(node: fx.Node) -> list[fx.Node]:
    """Return the maps that `node` may be an elementwise function of, the earliest first."""
    shape = shape_of(node)
    if len(shape) != 4:
        return []
    order = {each: place for place, each in enumerate(node.graph.nodes)}
    return sorted((s for s in inputs_of(node) if shape_of(s) == shape), key=order.__getitem__)


def recognise_channel_pads(traced: fx.GraphModule) -> None:
    """Find nodes that only place channels among zeros, in any spelling."""
    candidates = {node: _narrower_inputs(node) for node in traced.graph.nodes}
    candidates = {node: sources for node, sources in candidates.items() if sources}
    if not candidates:
        return
    generator = torch.Generator().manual_seed(1)
    probe = random_input(traced)
    seen = values(traced, probe, {}, {s for sources in candidates.values() for s in sources})
    # cat([zeros, x]) and cat([x, 0 * x]): the source is the operand that is not all zero
    source_of = {}
    for node, sources in candidates.items():
        live = [source for source in sources if seen[source].any()]
        if len(live) == 1:
            source_of[node] = live[0]
    # fresh noise in the source's place, so that a dead channel cannot hide where it goes
    noise = {s: noise_like(traced, s, generator) for s in source_of.values()}
    seen = values(traced, probe, noise, set(source_of))
    replaced: dict[fx.Node, fx.Node] = {}
    for node, source in source_of.items():
        position = _channel_positions(noise[source], seen[node])
        if position is None:
            continue
        pad = ChannelPad(position, shape_of(node)[1]).to(device_of(traced))
        name = add_module(traced, "channel_pad", pad)
        replaced[node] = replace(node, "call_module", name, (replaced.get(source, source),))


def _narrower_inputs(node: fx.Node) -> list[fx.Node]:
    """Return the inputs that `node` may have padded with zero channels, judging by shapes."""
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
    """Return the place of each source channel in `padded`, None unless all the rest is zero."""
    inputs = source.transpose(0, 1).flatten(1)
    outputs = padded.transpose(0, 1).flatten(1)
    position = [-1] * len(inputs)
    unused = set(range(len(inputs)))
    for channel, maps in enumerate(outputs):
        if not maps.any():
            continue
        match = next((i for i in sorted(unused) if torch.equal(inputs[i], maps)), None)
        if match is None:
            return None
        unused.discard(match)
        position[match] = channel
    return position


def recognise_affines(traced: fx.GraphModule) -> None:
    """Turn x * scale + shift of one number per channel (frozen batch norm) into ChannelAffine."""
    for node in list(traced.graph.nodes):
        found = _channel_constant(traced, node)
        if found is None:
            continue
        source, constant = found
        flat = constant.detach().reshape(-1)
        weight, bias = torch.ones_like(flat), torch.zeros_like(flat)
        name = str(getattr(node.target, "__name__", node.target))
        if name == "mul":
            weight = constant if isinstance(constant, nn.Parameter) else flat.clone()
        elif name == "add":
            bias = constant if isinstance(constant, nn.Parameter) else flat.clone()
        elif isinstance(constant, nn.Parameter):
            continue
        elif name == "sub":
            bias = -flat
        else:
            weight = 1 / flat
        before = module_of(source)
        if isinstance(before, ChannelAffine) and len(source.users) == 1:
            learned = (before.weight, before.bias, weight, bias)
            if not any(isinstance(tensor, nn.Parameter) for tensor in learned):
                bias = before.bias * weight + bias
                weight = before.weight * weight
                source = source.all_input_nodes[0]
        place = add_module(traced, "affine", ChannelAffine(weight, bias))
        replace(node, "call_module", place, (source,))
    traced.graph.eliminate_dead_code()


def _channel_constant(traced: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, torch.Tensor] | None:
    """Return the map and the tensor [c, 1, 1] that `node` combines, None for anything else."""
    name = str(getattr(node.target, "__name__", node.target))
    shape = shape_of(node)
    if name not in ("mul", "add", "sub", "truediv") or len(shape) != 4 or len(node.args) != 2:
        return None
    operands = [arg for arg in node.args if isinstance(arg, fx.Node)]
    constants = [arg for arg in operands if arg.op == "get_attr"]
    maps = [arg for arg in operands if arg.op != "get_attr" and shape_of(arg) == shape]
    if len(constants) != 1 or len(maps) != 1:
        return None
    if name in ("sub", "truediv") and node.args[0] is not maps[0]:
        return None
    if shape_of(constants[0]) not in ((1, shape[1], 1, 1), (shape[1], 1, 1)) or shape[1] == 1:
        return None
    path, _, last = str(constants[0].target).rpartition(".")
    return maps[0], getattr(traced.get_submodule(path), last)
