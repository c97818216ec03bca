"""Adding statistics up and taking them apart again, to the last bit and in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import kind_of
from pyedge.classes.matching import listing
from pyedge.keywords import keywords
from pyedge.statistics.grid import Sums, diagonal, packed_size
from pyedge.statistics.stored import check_values
from pyedge.statistics.sums import (
    HELD,
    LARGEST_MERGED,
    Statistics,
    check_room,
    chosen_to_hold,
)

_OF_CLASSES = ("counts", "sums", "described", "described_sums")
_MOST_SHIFT = 8  # between two grids: more would leave no room in the sums


def merged(many: Sequence[Statistics], held: int = HELD) -> Statistics:
    """Add up statistics of the same features; the result does not depend on their order.

    Statistics on grids of different steps are brought to the finest, exactly. Groups that share a
    class become one. Raises ValueError for other features, and if the sums have no room.
    """
    first = many[0]
    for each in many[1:]:
        if each.digest != first.digest or each.features != first.features:
            raise ValueError(
                "the statistics are of different features: the students' weights before the "
                "classifier differ, or random features were begun anew on one of them"
            )
    step = min(each.step for each in many)
    _check_room_on_grid(many, step)
    many = [_on_grid(each, step) for each in many]
    classes = tuple(sorted({name for each in many for name in each.classes}))
    place = {name: i for i, name in enumerate(classes)}
    features = first.features
    rows = [np.array([place[n] for n in each.classes], dtype=np.int64) for each in many]
    totals = {
        name: np.zeros((len(classes), *getattr(first, name).shape[1:]), dtype=np.int64)
        for name in _OF_CLASSES
    }
    for each, row in zip(many, rows, strict=True):
        for name, total in totals.items():
            total[row] += getattr(each, name)
    groups, moments = _merged_groups(many, rows, len(classes), features)
    found = Statistics(
        digest=first.digest,
        step=step,
        classes=classes,
        groups=groups,
        moments=moments,
        **_merged_held(many, rows, len(classes), held),
        **totals,
    )
    check_room(found)
    return found


@keywords(renamed={"many": "statistics"})
def merge_statistics(statistics: Iterable[Statistics]) -> Statistics:
    """Add up the statistics of several devices with the same student.

    The sums are those of all their images at once, to the last bit and in any order (Zhuang et al.
    2024). Classes are matched by name. Raises TypeError for anything but Statistics, ValueError for
    an empty list, and for statistics of different features.
    """
    found = list(statistics)
    for place, each in enumerate(found):
        if not isinstance(each, Statistics):
            raise TypeError(
                f"merge_statistics: item {place}: wanted Statistics, got {kind_of(each)}"
            )
    if not found:
        raise ValueError("merge_statistics: statistics: wanted at least one, got none")
    try:
        return merged(found)
    except ValueError as error:
        raise ValueError(f"merge_statistics: {error}") from None


@keywords()
def subtract_statistics(whole: Statistics, part: Statistics) -> Statistics:
    """Subtract statistics from others that they were added to, to the last bit.

    `subtract_statistics(learner.statistics, before)` is what a device has learned since `before`:
    it can be sent and merged, and counts nothing twice. Held images that `part` does not hold stay.
    Raises TypeError for anything but Statistics, ValueError for statistics that cannot have been
    added.
    """
    for name, each in (("whole", whole), ("part", part)):
        if not isinstance(each, Statistics):
            raise TypeError(f"subtract_statistics: {name}: wanted Statistics, got {kind_of(each)}")
    try:
        return without(whole, part)
    except ValueError as error:
        raise ValueError(f"subtract_statistics: {error}") from None


def without(whole: Statistics, part: Statistics) -> Statistics:
    """Take out what was added before; ValueError if it cannot have been."""
    if part.digest != whole.digest or part.features != whole.features:
        raise ValueError("the statistics are of other features than the student's")
    lacking = [name for name in part.classes if name not in whole.classes]
    if lacking:
        raise ValueError(f"nothing is known of {listing(lacking)}")
    step = min(whole.step, part.step)
    _check_room_on_grid([whole, part], step)
    whole, part = _on_grid(whole, step), _on_grid(part, step)
    rows = np.array([whole.classes.index(name) for name in part.classes], dtype=np.int64)
    left = {name: getattr(whole, name).copy() for name in (*_OF_CLASSES, "moments")}
    for name in _OF_CLASSES:
        left[name][rows] -= getattr(part, name)
    if (left["counts"] < 0).any() or (left["described"] < 0).any():
        raise ValueError("they count more images than the statistics have: they were never added")
    if (left["sums"][left["counts"] == 0] != 0).any():
        raise ValueError("the statistics have other sums than what was added")
    if (left["described"] > left["counts"]).any():
        raise ValueError("the statistics have other second moments than what was added")
    for group in range(len(part.moments)):
        here = np.unique(whole.groups[rows[part.groups == group]])
        if len(here) != 1 or here[0] < 0:
            raise ValueError(
                "the statistics pool second moments of classes that are kept apart here: they "
                "were never added"
            )
        left["moments"][here[0]] -= part.moments[group]
    gone = {each.tobytes() for each in part.held}
    stays = np.array([each.tobytes() not in gone for each in whole.held], dtype=bool)
    found = _compact(_holding(replace(whole, **left), stays))
    try:
        check_values(found)
    except ValueError:
        raise ValueError(
            "what would be left cannot be sums of images: these statistics were never added"
        ) from None
    return found


def without_class(whole: Statistics, name: str) -> Statistics:
    """Take a class out, as if it had never been added; ValueError if that is impossible."""
    if name not in whole.classes:
        raise ValueError(f"nothing is known of {listing([name])}")
    if name not in whole.forgettable():
        raise ValueError(
            f"the second moments of {listing([name])} are pooled with those of other classes, so "
            "it cannot be taken out"
        )
    row = whole.classes.index(name)
    left = {each: getattr(whole, each).copy() for each in ("counts", "described", "moments")}
    if whole.groups[row] >= 0:
        left["moments"][whole.groups[row]] = 0
    left["counts"][row] = left["described"][row] = 0
    return _compact(_holding(replace(whole, **left), whole.held_of != row))


def joined(whole: Statistics, names: Sequence[str]) -> Statistics:
    """Add the second moments of these classes to the sum that several classes share.

    If there is no such sum yet, they get one together. This takes less room, but these classes can
    no longer be forgotten by name.
    """
    shared = np.bincount(whole.groups[whole.groups >= 0], minlength=len(whole.moments)) > 1
    mine = [g for n, g in zip(whole.classes, whole.groups, strict=True) if n in names and g >= 0]
    shared[mine] = True
    if shared.sum() < 2:
        return whole
    chosen = np.flatnonzero(shared)
    groups = np.where(np.isin(whole.groups, chosen), chosen[0], whole.groups)
    moments = whole.moments.copy()
    moments[chosen[0]] = whole.moments[chosen].sum(axis=0)
    return _compact(replace(whole, groups=groups, moments=moments))


def _on_grid(each: Statistics, step: float) -> Statistics:
    """Express the same sums exactly as multiples of a finer step."""
    factor = round(each.step / step)
    if factor == 1:
        return each
    larger = each.held.astype(np.int64) * factor
    held = np.clip(larger, -LARGEST_MERGED, LARGEST_MERGED).astype(np.int32)
    return replace(
        each,
        step=step,
        sums=each.sums * factor,
        described_sums=each.described_sums * factor,
        moments=each.moments * (factor * factor),
        held=held,
    )


def _check_room_on_grid(many: Sequence[Statistics], step: float) -> None:
    """Raise ValueError if the sum of all second moments would not fit into an int64."""
    coarsest = max(each.step for each in many)
    if coarsest / step > 1 << _MOST_SHIFT:
        raise ValueError(
            f"statistics are on grids that differ too much: steps of {coarsest:g} and {step:g}"
        )
    most = 0.0
    for each in many:
        factor = each.step / step
        # those of one feature with itself are the largest; float64 tells their size well enough
        own = each.moments[:, diagonal(each.features)].max(axis=1).astype(np.float64)
        most += float(own.sum()) * factor**2
        means = np.abs(each.sums.astype(np.float64)) / each.counts[:, None]
        if means.max(initial=0) * factor > LARGEST_MERGED:
            raise ValueError(
                f"features are too large for the finer grid, of steps of {step:g}, that other "
                "statistics are on"
            )
    if most >= 2.0**62:
        raise ValueError("statistics of too many images: the sums have no room for more")


def _merged_groups(
    many: Sequence[Statistics], rows: Sequence[Sums], classes: int, features: int
) -> tuple[Sums, Sums]:
    """Join the groups that share a class, and add up their second moments."""
    parent = list(range(classes))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for each, row in zip(many, rows, strict=True):
        for group in range(len(each.moments)):
            members = row[each.groups == group]
            for other in members[1:]:
                a, b = sorted((root(int(members[0])), root(int(other))))
                parent[b] = a
    with_moments = {int(i) for e, row in zip(many, rows, strict=True) for i in row[e.groups >= 0]}
    roots = sorted({root(i) for i in with_moments})
    groups = np.array(
        [roots.index(root(i)) if i in with_moments else -1 for i in range(classes)], dtype=np.int64
    )
    moments = np.zeros((len(roots), packed_size(features)), dtype=np.int64)
    for each, row in zip(many, rows, strict=True):
        for group, sums in enumerate(each.moments):
            member = int(row[each.groups == group][0])
            moments[groups[member]] += sums
    return groups, moments


def _merged_held(
    many: Sequence[Statistics], rows: Sequence[Sums], classes: int, most: int
) -> dict[str, NDArray[Any]]:
    values = np.concatenate([each.held for each in many])
    owners = np.concatenate([row[each.held_of] for each, row in zip(many, rows, strict=True)])
    counted = np.concatenate([each.held_counted for each in many])
    kept: list[NDArray[Any]] = []
    for name in range(classes):
        mine = np.flatnonzero(owners == name)
        # images held aside go before counted ones; if there are enough of them, they stay the only
        # ones, so that what is taken out of the sums leaves them as they were
        aside, others = mine[~counted[mine]], mine[counted[mine]]
        room = most - len(aside) if len(aside) < most // 2 else 0
        kept.append(aside[chosen_to_hold(values[aside], most)])
        kept.append(others[chosen_to_hold(values[others], room)])
    chosen = np.concatenate([np.empty(0, np.int64), *kept]).astype(np.int64)
    return {
        "held": values[chosen],
        "held_of": owners[chosen],
        "held_counted": counted[chosen],
    }


def _holding(whole: Statistics, stays: NDArray[np.bool_]) -> Statistics:
    return replace(
        whole,
        held=whole.held[stays],
        held_of=whole.held_of[stays],
        held_counted=whole.held_counted[stays],
    )


def _compact(whole: Statistics) -> Statistics:
    """Drop classes without images and groups without classes."""
    stays = whole.counts > 0
    groups = np.where(whole.described > 0, whole.groups, -1)[stays]
    used = np.unique(groups[groups >= 0])
    renumbered = np.searchsorted(used, groups)
    whole = _holding(whole, stays[whole.held_of])
    place = np.cumsum(stays) - 1
    return replace(
        whole,
        classes=tuple(n for n, s in zip(whole.classes, stays, strict=True) if s),
        groups=np.where(groups >= 0, renumbered, -1).astype(np.int64),
        moments=whole.moments[used],
        held_of=place[whole.held_of].astype(np.int64),
        **{name: getattr(whole, name)[stays] for name in _OF_CLASSES},
    )
