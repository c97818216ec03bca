"""Weights by name: prefixes of wrappers, spellings of known families, the best of several."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

COUNTER = "num_batches_tracked"  # older files lack it, and nothing depends on it
_DEEPEST_PREFIX = 6
# what DataParallel, torch.compile, FSDP, activation checkpoints and DeepSpeed put into names
_WRAPPERS = {
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
}
# torchvision, timm, akamaster, kuangliu, chenyaofo and mmpretrain, in pyedge's words
_SPELLINGS = (
    (r"^(conv1|conv_stem|stem\.conv|stem\.0)\.", "stem."),
    (r"^(bn1|norm1|stem\.bn|stem\.norm|stem\.1)\.", "bn."),
    (r"^(fc|linear|head|last_linear|head\.fc|classifier\.fc|classif)\.", "classifier."),
    (r"\.(downsample|skip|identity_downsample|residual)\.", ".shortcut."),
)


@dataclass(frozen=True)
class Wanted:
    """What a network's state_dict needs: its tensors, without counters, and its classifier.

    head: names that may start afresh, of the linear layers after the last convolution.
    """

    tensors: Mapping[str, Tensor]
    head: frozenset[str]

    @classmethod
    def of(cls, model: nn.Module) -> Wanted:
        """Describe a network."""
        tensors = {
            name: value
            for name, value in model.state_dict().items()
            if isinstance(value, Tensor) and not name.endswith(COUNTER)
        }
        modules = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
        kinds = [type(model.get_submodule(module)) for module in modules]
        convs = [i for i, kind in enumerate(kinds) if issubclass(kind, nn.Conv2d)]
        linear = [i for i, kind in enumerate(kinds) if issubclass(kind, nn.Linear)]
        after = [i for i in linear if not convs or i > convs[-1]]
        # all that follows, such as a batch norm between linear layers; or else the classifier was
        # made before the convolutions, or is one
        head = set(modules[after[0] :] if after else [modules[(linear or convs or [-1])[-1]]])
        return cls(tensors, frozenset(n for n in tensors if n.rpartition(".")[0] in head))


@dataclass(frozen=True)
class Match:
    """Which of a file's tensors goes where.

    place: their prefix in the file. sources: the file's name for each of the network's names.
    strangers: names under the same prefix that the network does not have. how: in words, how they
    were matched if the names differ. facing: the file's name for each of the classifier's names
    whose shape differs.
    """

    place: str
    sources: Mapping[str, str]
    strangers: tuple[str, ...] = ()
    how: str = ""
    facing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attempt:
    """A match that was tried, and what was wrong with it.

    lacking: the network's unmatched names, each with the file's name of another shape, or "".
    too_many: the file's names, among those that match, that belong to no layer here.
    """

    match: Match
    lacking: Mapping[str, str]
    too_many: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether nothing but the classifier would start afresh."""
        return not self.lacking and not self.too_many


def places(tensors: Mapping[str, Tensor], least: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each prefix with at least that many tensors, and their names after it.

    Wrapper names are ignored anywhere in a name.
    """
    short = _without_wrappers(tensors)
    counted: Counter[str] = Counter()
    for name in short:
        parts = name.split(".")
        counted.update(".".join(parts[:i]) for i in range(min(len(parts), _DEEPEST_PREFIX)))
    for prefix, number in counted.items():
        if number >= least:
            start = f"{prefix}." if prefix else ""
            yield (
                prefix,
                {n.removeprefix(start): full for n, full in short.items() if n.startswith(start)},
            )


def _without_wrappers(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        short = bare(name)
        found[name if short in found else short] = name
    return found


def attempts(wanted: Wanted, tensors: Mapping[str, Tensor]) -> list[Attempt]:
    """Try a file's names under every prefix, unchanged and in pyedge's spelling."""
    least = sum(name not in wanted.head for name in wanted.tensors) // 2
    tried = []
    for prefix, names in places(tensors, least):
        here = [
            _attempt(wanted, tensors, prefix, names, spelling)
            for spelling in (_as_it_is, _in_our_words)
        ]
        tried.append(max(here, key=lambda each: (each.good, len(each.match.sources))))
    return tried


def _attempt(
    wanted: Wanted,
    tensors: Mapping[str, Tensor],
    prefix: str,
    names: Mapping[str, str],
    spelling: Callable[[str], str],
) -> Attempt:
    mine = {spelling(bare(name)): name for name in wanted.tensors}
    there = {spelling(name): full for name, full in names.items()}
    sources = {
        name: there[spelled]
        for spelled, name in mine.items()
        if spelled in there and tensors[there[spelled]].shape == wanted.tensors[name].shape
    }
    if len(mine) < len(wanted.tensors) or len(there) < len(names):
        sources = {}  # two names in one spelling: it is not for this network
    taken = set(sources.values())
    left = [
        (spelled, full)
        for spelled, full in there.items()
        if full not in taken and not spelled.endswith(COUNTER)
    ]
    ours = {s.partition(".")[0] for s, name in mine.items() if name not in wanted.head}
    lacking = {
        name: there.get(spelled, "")
        for spelled, name in mine.items()
        if name not in sources and name not in wanted.head
    }
    facing = set(lacking.values())
    too_many = tuple(f for s, f in left if s.partition(".")[0] in ours and f not in facing)
    strangers = tuple(f for s, f in left if s.partition(".")[0] not in ours and s not in mine)
    behind = {full: name for name, full in names.items()}
    other = any(bare(name) != behind[full] for name, full in sources.items())
    how = f"the names are others: {pairs_in_words(sources)}" if other else ""
    facing_head = {
        name: there[spelled]
        for spelled, name in mine.items()
        if name in wanted.head and name not in sources and spelled in there
    }
    return Attempt(Match(prefix, sources, strangers, how, facing_head), lacking, too_many)


def bare(name: str) -> str:
    """Remove the names of wrappers from a name."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _as_it_is(name: str) -> str:
    return name


def _in_our_words(name: str) -> str:
    for pattern, word in _SPELLINGS:
        name = re.sub(pattern, word, name)
    return re.sub(r"^layer(\d+)\.", lambda found: f"groups.{int(found[1]) - 1}.", name)


def pairs_in_words(sources: Mapping[str, str]) -> str:
    """Say for a few layers where their weights come from."""
    layers = {n.rpartition(".")[0]: full.rpartition(".")[0] for n, full in sources.items()}
    pairs = [f"{mine or 'weights'} from {theirs}" for mine, theirs in layers.items()]
    if len(pairs) > 5:
        pairs = [*pairs[:3], "...", pairs[-1]]
    return f"{len(layers)} layers, {', '.join(pairs)}"


def better(matches: list[Match], tensors: Mapping[str, Any]) -> tuple[list[Match], str]:
    """Drop copies, and averaged weights (EMA) if there are plain ones; say what was dropped."""
    distinct: list[Match] = []
    for match in matches:
        if not any(_same(match, other, tensors) for other in distinct):
            distinct.append(match)
    plain = [match for match in distinct if not averaged(match.place)]
    if not plain or len(plain) == len(distinct):
        return distinct, ""
    left = [match.place for match in distinct if averaged(match.place)]
    return plain, not_averaged(plain[0], left)


def not_averaged(match: Match, left: Iterable[str]) -> str:
    """Say that plain weights are used although there are averaged ones."""
    return (
        f"taken are the weights of {match.place or 'the top'}, "
        f"not the averaged ones of {', '.join(left)}"
    )


def _same(one: Match, other: Match, tensors: Mapping[str, Tensor]) -> bool:
    if one.sources.keys() != other.sources.keys():
        return False
    return all(
        one.sources[n] == other.sources[n]
        or (
            tensors[one.sources[n]].dtype == tensors[other.sources[n]].dtype
            and bool((tensors[one.sources[n]] == tensors[other.sources[n]]).all())
        )
        for n in one.sources
    )


def averaged(place: str) -> bool:
    """Tell whether a name says that the tensors under it are averages: ema, EMACallback."""
    words = r"(^|[._])(ema|swa|averaged|shadow|avg)([._\d]|$)"
    return bool(re.search(words, place.lower()) or re.search(r"(?<![A-Z])(EMA|SWA)", place))
