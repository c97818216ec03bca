"""Weights under other names, matched by the order of the layers, if no other order is possible.

The layers of a network and of a file, in the order in which they were made, must have the same
kinds and shapes, one by one. That alone could go wrong if two of them look alike (a shortcut and a
convolution, a batch norm before a convolution and one after it), so three more things must hold:
layers that share a parent on one side share one on the other (or one side is finer throughout),
numbered names under a parent rise, and what is named a shortcut on one side is one on the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pyedge.cloud.weights.names import COUNTER, Match, Wanted, pairs_in_words, places

_SHORTCUT = re.compile(r"shortcut|downsample|skip|identity|residual|project|res_conv|\bproj\b")


@dataclass(frozen=True)
class Layer:
    """A module with weights: its name, and the shapes of its tensors by their last name."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def parent(self) -> str:
        """The name of the module that it lies in."""
        return self.name.rpartition(".")[0]

    @property
    def kind(self) -> tuple[str, int]:
        """The tensors it has (a batch norm has a mean), and their numbers of dimensions."""
        return ",".join(sorted(self.shapes)), len(self.shapes.get("weight", ()))


def layers_of(tensors: Mapping[str, Tensor]) -> list[Layer]:
    """Group tensors, in their order, by the modules that hold them."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, value in tensors.items():
        module, _, leaf = name.rpartition(".")
        if leaf != COUNTER:
            found.setdefault(module, {})[leaf] = tuple(value.shape)
    return [Layer(name, shapes) for name, shapes in found.items()]


def in_order(wanted: Wanted, tensors: Mapping[str, Tensor]) -> tuple[list[Match], str]:
    """Match by order under every prefix; return what fits, or why an apparent fit is refused."""
    mine = layers_of(wanted.tensors)
    matches: dict[frozenset[str], Match] = {}
    doubt = ""
    for prefix, names in places(tensors, len(wanted.tensors) - len(wanted.head)):
        theirs = layers_of({name: tensors[full] for name, full in names.items()})
        if len(theirs) != len(mine) or not _alike(mine, theirs, wanted):
            continue
        found = _doubt(mine, theirs)
        if found:
            doubt = found
            continue
        sources = {
            f"{m.name}.{leaf}".lstrip("."): names[f"{t.name}.{leaf}".lstrip(".")]
            for m, t in zip(mine, theirs, strict=True)
            if m.shapes == t.shapes
            for leaf in m.shapes
        }
        facing = {
            f"{m.name}.{leaf}".lstrip("."): names[f"{t.name}.{leaf}".lstrip(".")]
            for m, t in zip(mine, theirs, strict=True)
            if m.shapes != t.shapes
            for leaf in m.shapes
        }
        how = f"the names are others and the order is the same: {pairs_in_words(sources)}"
        matches.setdefault(frozenset(sources.values()), Match(prefix, sources, (), how, facing))
    return list(matches.values()), "" if matches else doubt


def _alike(mine: Sequence[Layer], theirs: Sequence[Layer], wanted: Wanted) -> bool:
    """Tell whether kinds and shapes agree; linear layers may have other sizes."""
    heads = {name.rpartition(".")[0] for name in wanted.head}
    return all(
        m.shapes == t.shapes or (m.name in heads and m.kind == t.kind)
        for m, t in zip(mine, theirs, strict=True)
    )


def _doubt(mine: Sequence[Layer], theirs: Sequence[Layer]) -> str:
    """Say why layers of the same kinds and shapes in the same order may still be others."""
    for layers in (mine, theirs):
        falls = _numbers_fall(layers)
        if falls:
            return f"{falls[1]} comes after {falls[0]}, so the order is not that of the layers"
    if not _nested_alike(mine, theirs):
        return "layers lie together in modules that do not lie together here"
    ours, shortcuts = _shortcuts(mine), _shortcuts(theirs)
    if ours and shortcuts and ours != shortcuts:
        place = min(ours ^ shortcuts)
        return f"{theirs[place].name} would go to {mine[place].name}"
    layers, marked = (mine, ours) if ours else (theirs, shortcuts)
    if bool(ours) != bool(shortcuts):  # one side does not tell: no other layer may look like them
        for place in sorted(marked):
            for other in range(len(layers)):
                same = layers[other].shapes == layers[place].shapes and other not in marked
                if same and layers[place].kind[1] == 4 and _close(layers, place, other):
                    return f"{layers[place].name} and {layers[other].name} have the same shape"
    return ""


def _numbers_fall(layers: Sequence[Layer]) -> tuple[str, str] | None:
    """Find two names that differ in one number, such as conv2 and conv1, in the wrong order."""
    last: dict[tuple[str, str], tuple[int, str]] = {}
    for layer in layers:
        parts = layer.name.split(".")
        for i, part in enumerate(parts):
            found = re.fullmatch(r"(.*?)(\d+)", part)
            if not found:
                continue
            key = (".".join(parts[:i]), found[1])
            number = int(found[2])
            if key in last and number < last[key][0]:
                return last[key][1], layer.name
            last[key] = number, layer.name
    return None


def _nested_alike(mine: Sequence[Layer], theirs: Sequence[Layer]) -> bool:
    """Tell whether layers of one parent have one on the other side too, or one side is finer."""
    pairs = {(m.parent, t.parent) for m, t in zip(mine, theirs, strict=True)}
    finer = len(pairs) == len({m for m, _ in pairs})
    coarser = len(pairs) == len({t for _, t in pairs})
    return finer or coarser


def _shortcuts(layers: Sequence[Layer]) -> set[int]:
    return {i for i, layer in enumerate(layers) if _SHORTCUT.search(layer.name.lower())}


def _close(layers: Sequence[Layer], place: int, other: int) -> bool:
    """Tell whether two layers lie in one block, as far as their names tell."""
    one, two = (layers[i].name.split(".") for i in (place, other))
    least = max(0, min(len(one), len(two)) - 2)
    return one[:least] == two[:least]
