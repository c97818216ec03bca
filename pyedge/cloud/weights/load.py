"""load_weights: any file of weights into a network, or a table of what does not match."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pyedge.cloud.tables import text_table
from pyedge.cloud.weights.checks import dtype_name, first_fault
from pyedge.cloud.weights.files import WeightFile, part_in_words, read_weights
from pyedge.cloud.weights.heads import afresh_in_words, shape_in_words, whole_head
from pyedge.cloud.weights.names import (
    COUNTER,
    Attempt,
    Match,
    Wanted,
    attempts,
    averaged,
    bare,
    better,
    not_averaged,
)
from pyedge.cloud.weights.order import in_order
from pyedge.errors import FormatError
from pyedge.warning import warn

_ROWS = 12  # of the table of what does not match
_OF_TRAINING = re.compile(r"opt|sched|rng|random|scaler|loss|ema|callback|metric")
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Loaded:
    """The result of loading. taken: the network's tensors that have the file's values; afresh: the
    names of those that keep their own; sources: the file's name for each one taken; notes: what a
    person should know, in words.
    """

    taken: int
    afresh: tuple[str, ...]
    sources: Mapping[str, str]
    notes: tuple[str, ...]


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> Loaded:
    """Load all weights from a file into `model`; only a classifier may start afresh.

    The file is from torch.save (a state_dict, in containers and under prefixes of any wrapper, or a
    whole network) or safetensors; nothing in it is executed. Other names are accepted if they are
    those of a known family, or if order, kinds and shapes of all layers leave no doubt. float16,
    bfloat16 and float64 are converted to the network's type. Unless the names are simply the same,
    a warning tells how they were matched.

    Raises FormatError if the file holds no weights, if they do not match (a table shows the first
    differences side by side), if two parts of the file match, and for NaN, infinity and quantised
    weights; OSError if it cannot be opened; TypeError if `model` is not a network. On error the
    network is unchanged.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"load_weights: model: wanted a torch.nn.Module, got {type(model).__name__}"
        )
    file = read_weights(path)
    wanted = Wanted.of(model)
    match, notes = _match(path, wanted, file)
    values = {
        # a 1x1 convolution for a linear layer is all that differs in shape here
        name: _value(path, full, file.tensors[full], wanted.tensors[name]).reshape(
            wanted.tensors[name].shape
        )
        for name, full in match.sources.items()
    }
    fault = first_fault((match.sources[name], value) for name, value in values.items())
    if fault is not None:
        raise FormatError(f"{path}: the file {fault}")
    rounded = [n for n, full in match.sources.items() if _is_rounded(file.tensors[full], values[n])]
    if rounded:
        notes.append(f"float64 is rounded to float32 in {len(rounded)} tensors")
    empty = [n for n, value in values.items() if value.dim() > 1 and not value.count_nonzero()]
    if empty:
        notes.append(f"{empty[0]} holds zeros alone, one of {len(empty)} such tensors")
    state = model.state_dict()
    for name in state:
        if name.endswith(COUNTER):
            full = _counter_of(name, match, file.tensors)
            if full is not None:
                values[name] = file.tensors[full].reshape(()).to(state[name].dtype)
    model.load_state_dict({**state, **values})
    if notes:
        warn(f"{path}: {'; '.join(notes)}")
    afresh = tuple(sorted(n for n in wanted.tensors if n not in values))
    return Loaded(len(values), afresh, match.sources, tuple(notes))


def classes_in(path: str | os.PathLike[str], model: nn.Module) -> int | None:
    """Return how many classes a file's classifier has; None where it has none.

    model: a network like the file's, of any number of classes. Raises as `load_weights`.
    """
    file, wanted = read_weights(path), Wanted.of(model)
    match, _ = _match(path, wanted, file)
    last = [n for n, value in wanted.tensors.items() if n in wanted.head and value.dim() > 1][-1]
    full = match.sources.get(last) or match.facing.get(last)
    return None if full is None else int(file.tensors[full].shape[0])


def _match(
    path: str | os.PathLike[str], wanted: Wanted, file: WeightFile
) -> tuple[Match, list[str]]:
    """Find the one way in which a file fits, with notes on it. Raises FormatError."""
    tried = attempts(wanted, file.tensors)
    matches, doubt = [each.match for each in tried if each.good], ""
    if not matches and file.in_order:
        matches, doubt = in_order(wanted, file.tensors)
    if not matches:
        raise FormatError(f"{path}: {_differences(wanted, file, tried, doubt)}")
    best = max(len(match.sources) for match in matches)  # with the classifier, if one has it
    matches, dropped = better([m for m in matches if len(m.sources) == best], file.tensors)
    if len(matches) > 1:
        several = ", ".join(match.place or "the top" for match in matches)
        # the longest, lest another part lie within
        prefix = max(map(_prefix, matches[::-1]), key=len)
        raise FormatError(
            f"{path}: several parts of the file fit this network ({several}); save the one that "
            f"you want: torch.save({part_in_words(path, prefix)}, new)"
        )
    match, notes = matches[0], [dropped] if dropped else []
    match = _with_head(wanted, whole_head(wanted, match, file.tensors), file.tensors)
    if match.how:
        notes.append(match.how)
    afresh = afresh_in_words(wanted, match, file.tensors)
    if afresh:
        notes.append(afresh)
    taken = set(match.sources.values())
    averages = _averages(wanted, match, file.tensors)
    if averages and not dropped:
        notes.append(not_averaged(match, dict.fromkeys(averages.values())))
    strangers = [n for n in match.strangers if n not in taken and _matters(file.tensors[n])]
    strangers += _beside(match, [each.match for each in tried], file.tensors)
    strangers = [n for n in strangers if n not in averages]
    if strangers:
        some = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        notes.append(f"{len(strangers)} tensors of no layer here are left out: {some}")
    return match, notes


def _prefix(match: Match) -> str:
    """Return what all names of a match in the file begin with, without the last dot."""
    parts = (full.split(".")[:-1] for full in match.sources.values())
    same = itertools.takewhile(lambda at: len(set(at)) == 1, zip(*parts, strict=False))
    return ".".join(at[0] for at in same)


def _averages(wanted: Wanted, match: Match, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Find averaged weights besides those taken, in any form; return where they are.

    Parameters alone, a list, one long vector: as many values as half the network's, and others.
    """
    start = f"{match.place}." if match.place else ""
    taken = [tensors[full] for full in match.sources.values()]
    ours = {*match.sources.values(), *match.facing.values()}
    found: dict[str, str] = {}
    for name, value in tensors.items():
        parts = name.split(".")
        fits = averaged(bare(name).removeprefix(start)) and _matters(value)
        if name in ours or not fits or _is_copy(value, taken):
            continue
        ends = (i for i in range(1, len(parts) + 1) if averaged(".".join(parts[:i])))
        found[name] = ".".join(parts[: next(ends)])
    total = sum(value.numel() for value in wanted.tensors.values())
    return found if 2 * sum(tensors[name].numel() for name in found) >= total else {}


def _is_copy(value: Tensor, others: list[Tensor]) -> bool:
    return value.layout == torch.strided and any(
        other.layout == torch.strided and other.dtype == value.dtype and torch.equal(other, value)
        for other in others
    )


def _beside(match: Match, others: list[Match], tensors: Mapping[str, Tensor]) -> list[str]:
    """Name tensors outside the prefix that may matter, such as the mean of a preprocessing."""
    known = {*match.sources.values(), *match.strangers}
    for other in others:  # another network, or what `better` has told of
        if len(other.sources) == len(match.sources):
            known.update(other.sources.values())
    start = f"{match.place}." if match.place else ""
    return [
        name
        for name, value in tensors.items()
        if name not in known
        and not bare(name).startswith(start)
        and _matters(value)
        and not _OF_TRAINING.search(name.partition(".")[0].lower())
    ]


def _matters(value: Tensor) -> bool:
    """Tell weights, means and the like from counters and losses."""
    return value.is_floating_point() and value.numel() > 1


def _with_head(wanted: Wanted, match: Match, tensors: Mapping[str, Tensor]) -> Match:
    """Find a classifier outside the prefix under another name, if only one fits."""
    lacking = {name: wanted.tensors[name] for name in wanted.tensors if name not in match.sources}
    modules = {name.rpartition(".")[0] for name in lacking}
    if len(modules) != 1:
        return match
    leaves = {name.rpartition(".")[2]: value.shape for name, value in lacking.items()}
    top = match.place.rpartition(".")[0]
    taken = set(match.sources.values())
    found = []
    for name in tensors:
        module, _, leaf = name.rpartition(".")
        if leaf == "weight" and name not in taken and name.startswith(top):
            there = {n.rpartition(".")[2]: v.shape for n, v in tensors.items()
                     if n.rpartition(".")[0] == module and not n.endswith(COUNTER)}  # fmt: skip
            if there == leaves:
                found.append(module)
    if len(found) != 1:
        return match
    mine = modules.pop()
    more = {f"{mine}.{leaf}".lstrip("."): f"{found[0]}.{leaf}" for leaf in leaves}
    how = f"{mine} comes from {found[0]}"
    return replace(
        match,
        sources={**match.sources, **more},
        how=f"{match.how}; {how}" if match.how else how,
    )


def _value(path: str | os.PathLike[str], name: str, value: Tensor, like: Tensor) -> Tensor:
    value = value.detach()
    if value.dtype not in _FLOATS or value.is_quantized:
        if value.dtype == like.dtype:
            return value
        raise FormatError(
            f"{path}: {name} is {dtype_name(value)}, wanted floats (float16, bfloat16, float32 or "
            "float64): weights that are quantised cannot be learned with"
        )
    if value.layout != torch.strided:
        value = value.to_dense()
    fault = first_fault([(name, value)])
    if fault is not None:
        return value  # told with all the others
    if like.is_floating_point() and not value.to(like.dtype).isfinite().all():
        raise FormatError(f"{path}: {name} holds numbers too large for {dtype_name(like)}")
    return value.to(like.dtype)


def _is_rounded(before: Tensor, after: Tensor) -> bool:
    return before.dtype == torch.float64 and bool((after.double() != before.to_dense()).any())


def _counter_of(name: str, match: Match, tensors: Mapping[str, Tensor]) -> str | None:
    module = name.removesuffix(COUNTER)
    source = match.sources.get(f"{module}running_mean")
    full = None if source is None else source.removesuffix("running_mean") + COUNTER
    return full if full is not None and full in tensors and tensors[full].numel() == 1 else None


def _differences(wanted: Wanted, file: WeightFile, tried: list[Attempt], doubt: str) -> str:
    """Say what does not match, with a table of the first differences side by side."""
    near = max(tried, key=_nearness, default=None)
    count = sum(not name.endswith(COUNTER) for name in file.tensors)
    if near is None or 4 * _nearness(near) < min(len(wanted.tensors), count):
        rows = _rows_in_order(wanted, file)
        total = len(wanted.tensors)
        text = f"the weights are not this network's, which has {total} tensors"
        text += f", the file {count}; neither names nor order and shapes agree"
        if not file.in_order:
            text += " (safetensors keeps no order)"
        if doubt:
            text = f"the layers have the shapes of this network, but {doubt}"
    else:
        rows = _rows_by_name(wanted, file, near)
        lacking, many = len(near.lacking), len(near.too_many)
        total = len(wanted.tensors)
        text = f"{lacking} of the network's {total} tensors do not match"
        if not lacking:
            text = f"the file has {many} tensors that this network of {total} does not have"
        elif many:
            text += f", and the file has {many} that it does not have"
        text += _hint(wanted, file, near)
    more = len(rows) - _ROWS
    table = text_table(("the network's", "shape", "the file's", "shape"), rows[:_ROWS])
    return f"{text}\n\n{table}" + (f"\n... and {more} more rows" if more > 0 else "")


def _nearness(tried: Attempt) -> int:
    """Count the names that both sides have, whatever the shapes."""
    return len(tried.match.sources) + sum(map(bool, tried.lacking.values()))


Row = tuple[str, str, str, str]


def _rows_by_name(wanted: Wanted, file: WeightFile, near: Attempt) -> list[Row]:
    pairs = [*near.lacking.items(), *(("", name) for name in near.too_many)]
    return [
        (
            mine or "none",
            shape_in_words(wanted.tensors.get(mine)),
            other or "none",
            shape_in_words(file.tensors.get(other)),
        )
        for mine, other in pairs
    ]


def _rows_in_order(wanted: Wanted, file: WeightFile) -> list[Row]:
    """List both sides from the first layers that differ."""
    theirs = [(n, shape_in_words(v)) for n, v in file.tensors.items() if not n.endswith(COUNTER)]
    mine = [(n, shape_in_words(v)) for n, v in wanted.tensors.items()]
    rows = [
        (*one, *other)
        for one, other in itertools.zip_longest(mine, theirs, fillvalue=("none", "-"))
    ]
    differ = [i for i, row in enumerate(rows) if row[1] != row[3]]
    start = max(0, differ[0] - 2) if differ else 0
    return rows[start:]


def _hint(wanted: Wanted, file: WeightFile, near: Attempt) -> str:
    """Explain the commonest difference: a first convolution for other images."""
    first = next((name for name, value in wanted.tensors.items() if value.dim() == 4), "")
    other = near.lacking.get(first)
    if not other or len(near.lacking) > 1 or near.too_many:
        return ""
    mine, theirs = wanted.tensors[first].shape, file.tensors[other].shape
    if len(theirs) != 4 or theirs[0] != mine[0]:
        return ""
    if theirs[1] != mine[1]:
        return f": the file's first layer takes images of {theirs[1]} channels, here of {mine[1]}"
    return (
        f": the first layer looks at {theirs[2]}x{theirs[3]} pixels in the file and at "
        f"{mine[2]}x{mine[3]} here (small_input chooses that in resnet18 and resnet34)"
    )
