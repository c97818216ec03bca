"""Classifiers in files: taken whole or started afresh whole, never in part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from pyedge.cloud.weights.names import Match, Wanted


def whole_head(wanted: Wanted, match: Match, tensors: Mapping[str, Tensor]) -> Match:
    """Accept a 1x1 convolution as a linear layer, and drop incomplete layers."""
    more = {
        name: full
        for name, full in match.facing.items()
        if _only_written_otherwise(wanted.tensors[name].shape, tensors[full].shape)
    }
    sources = {**match.sources, **more}
    whole = {
        module
        for module in {name.rpartition(".")[0] for name in wanted.head}
        if all(n in sources for n in wanted.head if n.rpartition(".")[0] == module)
    }
    dropped = {
        name: full
        for name, full in sources.items()
        if name in wanted.head and name.rpartition(".")[0] not in whole
    }
    reshaped = [name for name in more if name not in dropped]
    how = [match.how] if match.how else []
    how += [
        f"{name} is {shape_in_words(wanted.tensors[name])} here and "
        f"{shape_in_words(tensors[more[name]])} in the file, the same values"
        for name in reshaped
    ]
    return replace(
        match,
        sources={name: full for name, full in sources.items() if name not in dropped},
        facing={n: full for n, full in {**match.facing, **dropped}.items() if n not in reshaped},
        how="; ".join(how),
    )


def afresh_in_words(wanted: Wanted, match: Match, tensors: Mapping[str, Tensor]) -> str:
    """Say why a classifier starts afresh, or "" if that is obvious: other classes, or none."""
    lacking = [name for name in wanted.tensors if name not in match.sources]
    there = {name: match.facing.get(name) for name in lacking}
    if not any(there.values()) or all(
        full is not None and _of_other_classes(wanted.tensors[name].shape, tensors[full].shape)
        for name, full in there.items()
    ):
        return ""
    pairs = ", ".join(
        f"{name} is {shape_in_words(wanted.tensors[name])} here and "
        + ("not in the file" if full is None else f"{shape_in_words(tensors[full])} in the file")
        for name, full in there.items()
    )
    return f"the classifier starts afresh: {pairs}"


def shape_in_words(tensor: Tensor | None) -> str:
    """Write a shape as 4x64; "-" for no tensor."""
    return "-" if tensor is None else "x".join(map(str, tensor.shape)) or "one number"


Shape = tuple[int, ...]


def _only_written_otherwise(mine: Shape, theirs: Shape) -> bool:
    """Tell a linear layer's weight [n, c] from another shape than that of its 1x1 convolution."""
    if min(len(mine), len(theirs)) < 2 or mine == theirs:
        return False
    return mine[:2] == theirs[:2] and {*mine[2:], *theirs[2:]} == {1}


def _of_other_classes(mine: Shape, theirs: Shape) -> bool:
    return len(mine) == len(theirs) and mine[1:] == theirs[1:] and mine[:1] != theirs[:1]
