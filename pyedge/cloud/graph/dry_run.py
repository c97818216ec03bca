"""Run a network from a file without its memory: only sizes, each within bounds."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from pyedge.cloud.graph.channel_pad import ChannelPad

_LARGEST = 1 << 31  # numbers in one map
_LONGEST = 1 << 12  # of a list of sizes
_ARITHMETIC = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv),
    *(operator.mod, operator.neg, operator.pos, operator.iadd, operator.isub, operator.imul),
)


def dry_run(net: fx.GraphModule, shape: tuple[int, ...]) -> Any:
    """Return what `net`, on the meta device, makes of images n c h w: only sizes.

    Raises ValueError if an operation does not take its inputs, or gives more than a network would.
    """
    sizes = _SizesAlone(net)
    sizes.extra_traceback = False  # of torch.fx, a page that says less than run_node
    with torch.no_grad(), torch.device("meta"):
        return sizes.run(torch.zeros(shape, dtype=torch.float32))


class _SizesAlone(fx.Interpreter):
    def run_node(self, node: fx.Node) -> Any:
        try:
            value = super().run_node(node)
            _check(value)
        except Exception as error:  # whatever torch raises at what does not fit
            first = str(error).strip().split("\n")[0]
            raise ValueError(f"node {node.name} ({node.op} {node.target}): {first}") from error
        return value

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        pad = self.fetch_attr(str(target))
        if not isinstance(pad, ChannelPad):
            return super().call_module(target, args, kwargs)
        if len(args) != 1 or kwargs:
            raise ValueError(
                f"wanted one map, got {len(args)} arguments and {len(kwargs)} keywords"
            )
        x = args[0]
        n, c, h, w = x.shape
        if c != pad.in_channels:
            raise ValueError(f"wanted {pad.in_channels} channels, got {c}")
        return x.new_empty(n, pad.out_channels, h, w)  # its positions are not known yet

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target.__module__ == "_operator" and not any(map(_holds_tensor, args)):
            _check_plain(target, args)
        return super().call_function(target, args, kwargs)


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _check_plain(target: Any, args: tuple[Any, ...]) -> None:
    """Check that values are plain and that none is too large for memory; sizes may be computed."""
    numbers = all(isinstance(value, (int, float)) for value in args)
    lists = all(isinstance(value, (tuple, list)) for value in args)
    if target in _ARITHMETIC and not (numbers or (lists and target is operator.add)):
        raise ValueError("wanted numbers, or tensors")
    if target in (operator.pow, operator.matmul):
        raise ValueError("wanted a tensor")


def _check(value: Any) -> None:
    if isinstance(value, torch.Tensor):
        if value.numel() >= _LARGEST:
            raise ValueError(f"{list(value.shape)} is too large to be true")
    elif isinstance(value, (tuple, list)):
        if len(value) > _LONGEST:
            raise ValueError(f"{len(value)} values are too many to be true")
        for item in value:
            _check(item)
    elif isinstance(value, int) and abs(value) >= 1 << 62:
        raise ValueError(f"{value:.3e} is too large to be true")
