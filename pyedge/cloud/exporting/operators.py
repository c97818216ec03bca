"""The table of torch's operators that are translated one to one.

A translator gets the index of the node's first lowered input, and returns the index of the new
node, None for what it does not know (the probe then has a look), or raises ValueError with the
reason why this one cannot go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import fx, nn

from pyedge.cloud.exporting import arithmetic, borders, layers, pools
from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.channel_affine import ChannelAffine
from pyedge.cloud.graph.channel_pad import ChannelPad

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering import Lowering

Translate = Callable[["Lowering", fx.Node, int], "int | None"]

_MODULES: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], Translate], ...] = (
    (nn.Conv2d, layers.conv),
    (nn.Linear, layers.linear),
    (layers.BatchNorm, layers.batch_norm),
    (ChannelAffine, layers.channel_affine),
    (ChannelPad, layers.channel_pad),
    (nn.AvgPool2d, pools.average),
    (nn.MaxPool2d, pools.maximum),
    (nn.AdaptiveAvgPool2d, pools.adaptive_average),
    (nn.AdaptiveMaxPool2d, pools.adaptive_maximum),
    (tuple(borders.PADS), borders.pad_module),
)

_FUNCTIONS: dict[str, Translate] = {
    "add": arithmetic.add,
    "sub": arithmetic.sub,
    "mul": arithmetic.mul,
    "truediv": arithmetic.div,
    "div": arithmetic.div,
    "neg": arithmetic.neg,
    "cat": arithmetic.cat,
    "concat": arithmetic.cat,
    "pad": borders.pad_function,
    "getitem": borders.slices,
    "avg_pool2d": pools.average,
    "max_pool2d": pools.maximum,
    "adaptive_avg_pool2d": pools.adaptive_average,
    "adaptive_max_pool2d": pools.adaptive_maximum,
}


def lower_node(lowering: Lowering, node: fx.Node) -> int | None:
    """Translate one node, if it is a known operator on inputs that are lowered already."""
    translate = _translator(node)
    if translate is None:
        return None
    source = next((n for n in node.all_input_nodes if n not in lowering.constants), None)
    if source is None or source not in lowering.index:
        return None
    return translate(lowering, node, lowering.index[source])


def _translator(node: fx.Node) -> Translate | None:
    if nodes.is_relu(node):
        return layers.relu
    module = nodes.module_of(node)
    if module is None:
        return _FUNCTIONS.get(str(getattr(node.target, "__name__", node.target)))
    return next((translate for kind, translate in _MODULES if isinstance(module, kind)), None)
