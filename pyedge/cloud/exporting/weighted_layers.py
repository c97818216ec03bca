"""Layers with weights, channel pads and flatten: in torch, and how they are translated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pyedge.cloud.exporting.arguments import numpy_of
from pyedge.cloud.exporting.borders import add_border
from pyedge.cloud.exporting.registry import Named, computes, translates
from pyedge.cloud.graph.channel_affine import ChannelAffine
from pyedge.cloud.graph.channel_pad import ChannelPad
from pyedge.cloud.graph.nodes import module_of, shape_of
from pyedge.student.operators import Node

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering

BatchNorm = nn.modules.batchnorm._BatchNorm


@translates(nn.Conv2d)
def conv(lowering: Lowering, node: fx.Node, source: int) -> int:
    """A convolution; a border that is not symmetric zeros becomes nodes of its own."""
    module = module_of(node)
    assert isinstance(module, nn.Conv2d)
    builder, name = lowering.builder, str(node.target)
    sides = _sides(module)
    if module.padding_mode != "zeros" and sides != [(0, 0), (0, 0)]:
        source = add_border(builder, f"{name}.border", source, sides, module.padding_mode)
        sides = [(0, 0), (0, 0)]
    if any(before != after for before, after in sides):
        source = builder.shift(f"{name}.border", source, sides[0], sides[1])
        sides = [(0, 0), (0, 0)]
    more = lowering.padding.get(node.all_input_nodes[0], (0, 0))
    index = builder.conv(
        name,
        source,
        numpy_of(module.weight),
        bias=None if module.bias is None else numpy_of(module.bias),
        stride=(module.stride[0], module.stride[1]),
        padding=(sides[0][0] + more[0], sides[1][0] + more[1]),
        dilation=(module.dilation[0], module.dilation[1]),
        groups=module.groups,
    )
    return lowering.remember(index, node, learns=True)


def _sides(module: nn.Conv2d) -> list[tuple[int, int]]:
    """The padding before and after, down and across."""
    if module.padding == "valid":
        return [(0, 0), (0, 0)]
    if module.padding == "same":
        reach = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in reach]
    return [(int(p), int(p)) for p in module.padding]


@translates(nn.Linear)
def linear(lowering: Lowering, node: fx.Node, source: int) -> int | None:
    """A linear layer on a vector, which torch may hold as a map of one pixel."""
    module = module_of(node)
    assert isinstance(module, nn.Linear)
    builder, name = lowering.builder, str(node.target)
    if len(shape_of(node)) != 2:
        return None
    normed = any(isinstance(module_of(user), BatchNorm) for user in node.users)
    if normed and node is not lowering.classifier:
        return _linear_as_conv(lowering, node, source, module)
    if len(builder.shape(source)) == 3:
        source = builder.add("flatten", f"{name}.flatten", [source])
    bias = None if module.bias is None else numpy_of(module.bias)
    index = builder.add("linear", name, [source], weight=numpy_of(module.weight), bias=bias)
    return lowering.remember(index, node, learns=True)


def _linear_as_conv(lowering: Lowering, node: fx.Node, source: int, module: nn.Linear) -> int:
    """A linear layer before a batch norm, which needs a map: a window as large as the map."""
    builder = lowering.builder
    if builder.nodes[source]["op"] == "flatten":
        (source,) = builder.nodes[source]["inputs"]
    index = builder.conv(
        str(node.target),
        source,
        numpy_of(module.weight).reshape(-1, *builder.shape(source)),
        bias=None if module.bias is None else numpy_of(module.bias),
    )
    return lowering.remember(index, node, learns=True)


@translates(BatchNorm)
def batch_norm(lowering: Lowering, node: fx.Node, source: int) -> int:
    """A batch norm with running statistics; without weights of its own they are 1 and 0."""
    module = module_of(node)
    assert isinstance(module, BatchNorm)
    if module.running_mean is None or module.running_var is None:
        raise ValueError(
            "it has no running statistics, so that what one image gives depends on the others"
        )
    c = module.num_features
    index = lowering.builder.add(
        "batch_norm",
        str(node.target),
        [source],
        weight=np.ones(c, np.float32) if module.weight is None else numpy_of(module.weight),
        bias=np.zeros(c, np.float32) if module.bias is None else numpy_of(module.bias),
        mean=numpy_of(module.running_mean),
        variance=numpy_of(module.running_var),
        eps=float(module.eps),
    )
    return lowering.remember(index, node, learns=module.weight is not None)


@translates(ChannelAffine)
def channel_affine(lowering: Lowering, node: fx.Node, source: int) -> int:
    """A frozen batch norm."""
    module = module_of(node)
    assert isinstance(module, ChannelAffine)
    weight, bias = numpy_of(module.weight).ravel(), numpy_of(module.bias).ravel()
    return lowering.builder.add("affine", str(node.target), [source], weight=weight, bias=bias)


@translates(ChannelPad)
def channel_pad(lowering: Lowering, node: fx.Node, source: int) -> int:
    """The shortcut's change of width."""
    module = module_of(node)
    assert isinstance(module, ChannelPad)
    return lowering.builder.add(
        "channel_pad",
        str(node.target),
        [source],
        position=module.position.cpu().numpy().astype(np.int32),
        channels=module.out_channels,
    )


@computes("conv2d")
def _conv2d(node: Node, arrays: Named, x: Tensor) -> Tensor:
    stride, padding, dilation = (list(node[f]) for f in ("stride", "padding", "dilation"))
    weight, bias = arrays["weight"], arrays.get("bias")
    return F.conv2d(x, weight, bias, stride, padding, dilation, node["groups"])


@computes("linear")
def _linear(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return F.linear(x, arrays["weight"], arrays.get("bias"))


@computes("flatten")
def _flatten(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return x.flatten(1)


@computes("batch_norm")
def _batch_norm(node: Node, arrays: Named, x: Tensor) -> Tensor:
    scale = arrays["weight"] / (arrays["variance"] + node["eps"]).sqrt()
    return (x - _each(arrays["mean"], x)) * _each(scale, x) + _each(arrays["bias"], x)


@computes("affine")
def _affine(node: Node, arrays: Named, x: Tensor) -> Tensor:
    return x * _each(arrays["weight"], x) + _each(arrays["bias"], x)


@computes("channel_pad")
def _channel_pad(node: Node, arrays: Named, x: Tensor) -> Tensor:
    stays = arrays["position"] >= 0
    out = x.new_zeros(len(x), node["channels"], *x.shape[2:])
    return out.index_copy(1, arrays["position"][stays], x[:, stays])


def _each(values: Tensor, x: Tensor) -> Tensor:
    """One number for each channel, for a map or a vector."""
    return values.view(1, -1, *(1,) * (x.dim() - 2))
