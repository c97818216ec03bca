"""Which layers' widths are coupled, as Torch-Pruning's DependencyGraph finds them.

Pruning a filter takes a channel from everything that sums, batch norms and the next layers tie
to it. This file asks Torch-Pruning for those ties once, and keeps what is needed to compute
parameters and multiply-accumulates for any widths without building anything.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch_pruning as tp
from torch import fx, nn

from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.channel_affine import ChannelAffine
from pyedge.cloud.graph.channel_pad import ChannelPad
from pyedge.cloud.graph.gates import find_gates
from pyedge.cloud.graph.nodes import shape_of
from pyedge.errors import StructureError


class _ChannelPadPruner(tp.pruner.BasePruningFunc):
    """Tell Torch-Pruning that a ChannelPad's inputs and outputs are pruned separately."""

    def prune_out_channels(self, layer: ChannelPad, idxs: Sequence[int]) -> ChannelPad:
        layer.remove_outputs(idxs)
        return layer

    def prune_in_channels(self, layer: ChannelPad, idxs: Sequence[int]) -> ChannelPad:
        layer.remove_inputs(idxs)
        return layer

    def get_out_channels(self, layer: ChannelPad) -> int:
        return layer.out_channels

    def get_in_channels(self, layer: ChannelPad) -> int:
        return layer.in_channels


class _ChannelAffinePruner(tp.pruner.BasePruningFunc):
    """Tell Torch-Pruning that a ChannelAffine loses a channel on both sides at once."""

    def prune_out_channels(self, layer: ChannelAffine, idxs: Sequence[int]) -> ChannelAffine:
        layer.remove(idxs)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: ChannelAffine) -> int:
        return layer.channels

    def get_in_channels(self, layer: ChannelAffine) -> int:
        return layer.channels


@dataclass(frozen=True)
class FilterSet:
    """Filters that stay or go together: filter i of every conv in `convs`.

    inputs: modules that read these channels -> how many input features a channel is (49 for a
    linear layer on flattened 7x7 maps). norms: batch norms and PReLUs of them. inner: those of
    `convs` whose maps nothing but depthwise convolutions of the set read. gates: linear layers that
    compute a factor for each of these channels. fixed: why the set cannot be pruned, "" when it
    can.
    """

    filters: int
    convs: tuple[str, ...]
    inputs: dict[str, int]
    norms: tuple[str, ...]
    inner: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    fixed: str = ""


def dependency_graph(traced: fx.GraphModule, example: torch.Tensor) -> tp.DependencyGraph:
    """Build Torch-Pruning's graph of `traced`, ChannelPad included."""
    graph = tp.DependencyGraph()
    try:
        graph.build_dependency(
            traced,
            example_inputs=example,
            forward_fn=lambda model, x: model(x),
            customized_pruners={
                ChannelPad: _ChannelPadPruner(),
                ChannelAffine: _ChannelAffinePruner(),
            },
            # a single learned number (SkipInit, ReZero) has no channels to lose
            ignored_params=[p for p in traced.parameters() if p.numel() == 1],
            verbose=False,
        )
    except (ValueError, AssertionError, RuntimeError) as error:
        raise StructureError(f"Torch-Pruning cannot follow the network: {error}") from error
    for name, module in traced.named_modules():
        if isinstance(module, nn.Conv2d) and module not in graph.module2node:
            raise StructureError(
                f"no gradient of the output reaches {name}, so that what hangs together cannot be "
                "followed; an operator behind it cuts it off, as argmax and one_hot do"
            )
    return graph


def filter_sets(
    traced: fx.GraphModule, graph: tp.DependencyGraph, convs: Sequence[str]
) -> list[FilterSet]:
    """Group `convs` (module names) into sets of coupled filters, in order."""
    names = {module: name for name, module in traced.named_modules(remove_duplicate=False)}
    gates = find_gates(traced).layers(nn.Linear)
    sets: list[FilterSet] = []
    seen: set[str] = set()
    for name in convs:
        if name in seen:
            continue
        found = _filter_set(traced.get_submodule(name), graph, names, gates)
        inner = tuple(conv for conv in found.convs if _feeds_depthwise_alone(traced, conv))
        seen.update(found.convs)
        sets.append(dataclasses.replace(found, inner=inner))
    return sets


def _filter_set(
    conv: nn.Module,
    graph: tp.DependencyGraph,
    names: dict[nn.Module, str],
    gates: tuple[str, ...],
) -> FilterSet:
    assert isinstance(conv, nn.Conv2d)
    filters = conv.out_channels
    if nodes.is_depthwise_conv(conv):
        # filters of a convolution before it would have brought it into their set
        return FilterSet(filters, (names[conv],), {}, (), fixed="it filters the image's channels")
    if conv.groups > 1:
        return FilterSet(filters, (names[conv],), {}, (), fixed="a grouped convolution")
    group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, list(range(filters)))
    convs: list[str] = []
    norms: list[str] = []
    inputs: dict[str, int] = {}
    tied: list[str] = []
    fixed = ""
    for dependency, channels in group:
        module = dependency.target.module
        name = names.get(module, "")
        is_out = graph.is_out_channel_pruning_fn(dependency.handler)
        if isinstance(module, nn.Conv2d):
            if nodes.is_depthwise_conv(module):
                if name not in convs:  # it loses a channel on both sides at once
                    convs.append(name)
                continue
            if module.groups > 1:
                fixed = f"{name} is a grouped convolution"
            if is_out:
                convs.append(name)
            else:
                inputs[name] = 1
        elif isinstance(module, nn.Linear):
            if is_out and name in gates:
                tied.append(name)
                continue
            if is_out:
                fixed = f"{name} is tied to it"
            inputs[name] = len(channels) // filters
        elif isinstance(module, nodes.CHANNEL_NORMS):
            norms.append(name)
        elif isinstance(module, nn.PReLU):
            if module.num_parameters > 1:
                norms.append(name)
        elif any(True for _ in getattr(module, "parameters", list)()) and not isinstance(
            module, (ChannelPad, torch.Tensor)
        ):
            fixed = f"{name} ({type(module).__name__}) is tied to it"
        elif isinstance(module, nn.Parameter):
            fixed = "a parameter outside any known layer is tied to it"
    return FilterSet(filters, tuple(convs), inputs, tuple(norms), gates=tuple(tied), fixed=fixed)


def _feeds_depthwise_alone(traced: fx.GraphModule, conv: str) -> bool:
    """Tell whether all that reads a convolution's maps are depthwise convolutions."""
    stack = [next(node for node in traced.graph.nodes if node.target == conv)]
    readers = []
    while stack:
        for user in stack.pop().users:
            plain = nodes.is_activation(user) or nodes.is_content_free(user)
            if plain or nodes.is_channel_norm(user):
                stack.append(user)
            else:
                readers.append(user)
    return all(map(nodes.is_depthwise, readers))


class CostModel:
    """Parameters and multiply-accumulates of a network, for any widths of its filter sets."""

    def __init__(self, traced: fx.GraphModule, sets: Sequence[FilterSet]) -> None:
        self._out = {name: place for place, s in enumerate(sets) for name in (*s.convs, *s.gates)}
        self._in = {
            name: (place, k) for place, s in enumerate(sets) for name, k in s.inputs.items()
        }
        self._norm = {norm: place for place, each in enumerate(sets) for norm in each.norms}
        self._layers: list[tuple[str, nn.Module, int]] = []
        self._other = 0
        calls: dict[str, int] = {}
        for node in traced.graph.nodes:
            if nodes.is_conv(node):
                positions = math.prod(shape_of(node)[2:])
                calls[str(node.target)] = calls.get(str(node.target), 0) + positions
            elif nodes.is_linear(node):
                calls[str(node.target)] = calls.get(str(node.target), 0) + 1
        for name, module in traced.named_modules():
            own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.PReLU, *nodes.CHANNEL_NORMS)):
                self._layers.append((name, module, calls.get(name, 0)))
            else:
                self._other += own

    def params(self, widths: Sequence[int]) -> int:
        """Number of parameters when filter set i has widths[i] filters."""
        return self._other + sum(self._layer(*layer, widths)[0] for layer in self._layers)

    def macs(self, widths: Sequence[int]) -> int:
        """Multiply-accumulates of one image in convolutions and linear layers."""
        return sum(self._layer(*layer, widths)[1] for layer in self._layers)

    def _layer(
        self, name: str, module: nn.Module, positions: int, widths: Sequence[int]
    ) -> tuple[int, int]:
        if isinstance(module, (nn.PReLU, *nodes.CHANNEL_NORMS)):
            sizes = [parameter.numel() for parameter in module.parameters(recurse=False)]
            norm = self._norm.get(name)
            return (sum(sizes) if norm is None else len(sizes) * widths[norm]), 0
        place = self._out.get(name)
        inputs = self._in.get(name)
        if isinstance(module, nn.Conv2d):
            out = module.out_channels if place is None else widths[place]
            c_in = module.in_channels if inputs is None else widths[inputs[0]]
            weights = out * (c_in // module.groups) * math.prod(module.kernel_size)
        else:
            assert isinstance(module, nn.Linear)
            out = module.out_features if place is None else widths[place]
            features = module.in_features if inputs is None else widths[inputs[0]] * inputs[1]
            weights = out * features
        return weights + (out if module.bias is not None else 0), weights * positions
