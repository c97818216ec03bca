"""How many filters stay in each layer, and which: thresholds, budgets, explicit widths (Sec. 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from pyedge.arguments import plain_number
from pyedge.cloud.compression.coupling import CostModel, FilterSet
from pyedge.cloud.compression.profile import Profile

Widths = Mapping[str, int] | Sequence[int]

# thresholds that a budget search tries: finer than any two filters can be told apart by
_STEPS = 10_000


@dataclass(frozen=True)
class WidthRule:
    """min_width: the least filters that stay. round_to: widths are rounded up to its multiples."""

    min_width: int = 1
    round_to: int = 1

    def __post_init__(self) -> None:
        for name in ("min_width", "round_to"):
            value = plain_number(getattr(self, name))
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"plan: {name}: wanted an integer of at least 1, got {value!r}")
            object.__setattr__(self, name, value)

    def apply(self, filters: int, width: int) -> int:
        width = max(width, self.min_width)
        return min(filters, math.ceil(width / self.round_to) * self.round_to)


def check_threshold(P: float) -> float:
    """Return P as a float. Raises ValueError outside 0 to 1, TypeError if it is not a number."""
    P = plain_number(P)
    if isinstance(P, bool) or not isinstance(P, (int, float)):
        raise TypeError(f"plan: P: wanted a number from 0 to 1, got {type(P).__name__} {P!r}")
    if not 0 <= P <= 1:
        raise ValueError(f"plan: P: wanted a number from 0 to 1, got {P}")
    return float(P)


def measured_convs(each: FilterSet, profile: Profile, source: Mapping[str, str]) -> list[str]:
    """Return the convolutions of the full network at which this set's filters are measured.

    Where a depthwise convolution follows another, its maps alone count, for they are what the rest
    of the network sees of the filter, unless no activation sees them.
    """
    measured = {
        conv: source[conv]
        for conv in each.convs
        if (found := profile.convs.get(source.get(conv, ""))) and found.filters == each.filters
    }
    outer = [place for conv, place in measured.items() if conv not in each.inner]
    return list(dict.fromkeys(outer or measured.values()))


def threshold_widths(
    P: float,
    sets: Sequence[FilterSet],
    profile: Profile,
    source: Mapping[str, str],
    rule: WidthRule,
) -> list[int]:
    """Return n - round(mean number of prunable filters) for each set.

    If several convolutions share their filters (an identity shortcut), the widest decides: only as
    many filters go as each of them can spare.
    """
    widths = []
    for each in sets:
        convs = measured_convs(each, profile, source)
        if each.fixed or not convs:
            widths.append(each.filters)
            continue
        spare = min(math.floor(profile.convs[conv].prunable(P) + 0.5) for conv in convs)
        widths.append(rule.apply(each.filters, each.filters - spare))
    return widths


def budget_threshold(
    widths_at: Callable[[float], list[int]],
    cost: CostModel,
    max_params: int | None,
    max_macs: int | None,
    highest: float,
) -> float:
    """Return the largest P up to `highest` whose widths fit both budgets; ValueError if none."""
    for name, value in (("max_params", max_params), ("max_macs", max_macs)):
        number = plain_number(value)
        if value is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
            raise TypeError(f"plan: {name}: wanted a number, got {value!r}")
        if value is not None and not number > 0:
            raise ValueError(f"plan: {name}: wanted a number above 0, got {value}")

    def fits(step: int) -> bool:
        widths = widths_at(highest * step / _STEPS)
        return (max_params is None or cost.params(widths) <= max_params) and (
            max_macs is None or cost.macs(widths) <= max_macs
        )

    if not fits(0):
        smallest = widths_at(0.0)
        raise ValueError(
            f"plan: no threshold fits max_params={max_params}, max_macs={max_macs}: even P=0 "
            f"leaves {cost.params(smallest):,} parameters and {cost.macs(smallest):,} "
            "multiply-accumulates"
        )
    low, high = 0, _STEPS + 1  # fits(low); high does not fit, or lies beyond the range
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return highest * low / _STEPS


def explicit_widths(wanted: Widths, sets: Sequence[FilterSet], default: Sequence[int]) -> list[int]:
    """Return given widths, by convolution name or in order, for each set of coupled filters."""
    if isinstance(wanted, (str, bytes)) or not isinstance(wanted, Iterable):
        raise TypeError(f"plan: widths: wanted filters by name, or in order, got {wanted!r}")
    if isinstance(wanted, Mapping):
        wanted = {name: plain_number(width) for name, width in wanted.items()}
        place_of = {conv: place for place, each in enumerate(sets) for conv in each.convs}
        unknown = [name for name in wanted if name not in place_of]
        if unknown:
            raise ValueError(
                f"plan: widths: wanted names among {', '.join(place_of)}, got {unknown[0]!r}"
            )
        widths = list(default)
        given: dict[int, str] = {}
        for name, width in wanted.items():
            place = place_of[name]
            if place in given and width != wanted[given[place]]:
                raise ValueError(
                    f"plan: widths: wanted one number for {given[place]} and {name}, which a sum "
                    f"ties, got {wanted[given[place]]} and {width}"
                )
            given[place] = name
            widths[place] = width
    else:
        widths = list(map(plain_number, wanted))
        if len(widths) != len(sets):
            names = ", ".join(each.convs[0] for each in sets)
            raise ValueError(
                f"plan: widths has {len(widths)} entries, wanted {len(sets)}, for {names}"
            )
    for width, each in zip(widths, sets, strict=True):
        if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= each.filters:
            raise ValueError(
                f"plan: widths: wanted an integer from 1 to {each.filters} for {each.convs[0]}, "
                f"got {width!r}"
            )
        if each.fixed and width != each.filters:
            raise ValueError(f"plan: {each.convs[0]} cannot be pruned: {each.fixed}")
    return widths


def mean_zero_fraction(
    each: FilterSet, profile: Profile, source: Mapping[str, str]
) -> torch.Tensor | None:
    """Return each filter's mean zero fraction, float64 [filters]; None if unmeasured."""
    convs = measured_convs(each, profile, source)
    if not convs:
        return None
    return torch.stack([profile.convs[conv].zero_fraction for conv in convs]).mean(0)


def kept_filters(zero_fraction: torch.Tensor | None, filters: int, width: int) -> torch.Tensor:
    """Return the `width` filters of lowest mean zero fraction, as rising positions, int64.

    The paper's threshold tells how many filters stay, not which; this choice is stable between
    batches. Among equals the earlier filter stays.
    """
    if zero_fraction is None:
        return torch.arange(width)
    order = torch.argsort(zero_fraction, stable=True)
    return order[:width].sort().values
