"""Sums of features: whole numbers, the same in any order, and taken out again to the last bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyedge.statistics.grid import (
    LARGEST,
    diagonal,
    good_step,
    rounded,
    second_moments,
    square,
    step_for,
)
from pyedge.statistics.merging import joined, merge_statistics, merged, without, without_class
from tests.support.statistics_case import NAMES, clouds, same, sums_of


def test_grid_step_is_a_power_of_two_with_room_above_the_largest_feature() -> None:
    features = np.array([[0.3, -5.0]], np.float32)
    step = step_for(features)
    assert good_step(step)
    assert 8 <= LARGEST * step / 5.0 <= 32
    assert not good_step(0.3)
    assert not good_step(float("inf"))
    assert good_step(step_for(np.zeros((2, 2), np.float32)))


def test_grid_rounds_cuts_and_refuses() -> None:
    found = rounded(np.array([[1.0, 1.24, -1e9]], np.float32), 0.25)
    assert found.values.tolist() == [[4, 5, -LARGEST]]
    assert found.clipped == 1
    with pytest.raises(ValueError, match="features: wanted finite"):
        rounded(np.array([[np.nan]], np.float32), 0.25)


@pytest.mark.parametrize(("n", "f"), [(0, 3), (1, 1), (5, 42), (8193, 7), (20, 130)])
def test_grid_second_moments_are_exact(n: int, f: int) -> None:
    random = np.random.default_rng(n + f)
    values = random.integers(-LARGEST, LARGEST + 1, (n, f)).astype(np.int32)
    wide = values.astype(np.int64)
    expected = wide.T @ wide
    packed = second_moments(values)
    assert np.array_equal(packed, expected[np.triu_indices(f)])
    assert np.array_equal(packed[diagonal(f)], expected.diagonal())
    assert np.array_equal(square(packed, f), expected.astype(np.float64))


def test_grid_second_moments_of_the_largest_values_are_exact() -> None:
    values = np.full((9000, 2), LARGEST, np.int32)
    values[:, 1] = LARGEST - 1
    found = second_moments(values)
    assert found.tolist() == [9000 * LARGEST**2, 9000 * LARGEST * (LARGEST - 1),
                              9000 * (LARGEST - 1) ** 2]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), parts=st.integers(1, 6))
def test_sums_do_not_depend_on_order_and_split(seed: int, parts: int) -> None:
    features, labels = clouds(count=15, seed=seed)
    step = step_for(features)
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    split = np.array_split(order, parts)
    pieces = [sums_of(features[rows], labels[rows], step=step) for rows in split]
    whole = merged([sums_of(features, labels, step=step)])
    forward, backward = merged(pieces), merged(pieces[::-1])
    # pieces that share no class keep their second moments apart
    assert same(joined(forward, NAMES), whole)
    assert same(forward, backward)
    nested = merged([merged(pieces[:2]), *pieces[2:]])
    assert same(nested, forward)


@pytest.mark.parametrize("is_pooled", [False, True])
def test_sums_what_was_added_is_taken_out_to_the_last_bit(is_pooled: bool) -> None:
    features, labels = clouds(count=8)
    step = step_for(features)
    first = np.arange(len(labels)) % 2 == 0
    a = merged([sums_of(features[first], labels[first], step=step, pooled=is_pooled)])
    b = sums_of(features[~first], labels[~first], step=step, pooled=is_pooled)
    assert same(without(merged([a, b]), b), a)


def test_sums_a_class_of_its_own_is_taken_out_and_a_pooled_one_refused() -> None:
    features, labels = clouds()
    step = step_for(features)
    old = labels < 3
    a = merged([sums_of(features[old], labels[old], step=step)])
    both = merged([a, sums_of(features[~old], labels[~old], step=step, pooled=False)])
    assert both.forgettable() == ("dog",)
    assert same(without_class(both, "dog"), a)
    with pytest.raises(ValueError, match=r"moments of ant .*pooled"):
        without_class(both, "ant")
    with pytest.raises(ValueError, match=r"nothing is known of eel"):
        without_class(both, "eel")


def test_sums_images_of_a_pooled_class_join_its_group() -> None:
    features, labels = clouds()
    step = step_for(features)
    early = np.arange(len(labels)) % 2 == 0
    a = sums_of(features[early], labels[early], step=step)
    more = early | (labels != 1)
    b = sums_of(features[~more], labels[~more], step=step, pooled=False)
    found = merged([a, b])
    assert len(found.moments) == 1
    assert found.count("bee") == 60
    assert found.count("eel") == 0


def test_sums_of_different_grids_are_brought_to_the_finer_one() -> None:
    features, labels = clouds()
    fine, coarse = step_for(features), step_for(features) * 4
    a, b = sums_of(features, labels, step=fine), sums_of(features, labels, step=coarse)
    found = merged([a, b])
    assert found.step == fine
    assert np.array_equal(found.sums, a.sums + 4 * b.sums)
    assert np.array_equal(found.moments, a.moments + 16 * b.moments)
    assert same(found, merged([b, a]))
    far = dataclasses.replace(b, step=fine * 2**20)
    with pytest.raises(ValueError, match="grids that differ too much"):
        merged([a, far])


def test_sums_without_what_was_never_added_is_refused() -> None:
    features, labels = clouds()
    step = step_for(features)
    whole = sums_of(features, labels, step=step)
    twice = merged([whole, whole])
    with pytest.raises(ValueError, match="more images than the statistics have"):
        without(whole, twice)
    apart = sums_of(features, labels, step=step, pooled=False)
    with pytest.raises(ValueError, match=r"pool .*kept apart"):
        without(merged([apart, apart]), whole)
    other = dataclasses.replace(whole, digest="1" * 64)
    with pytest.raises(ValueError, match="other features"):
        without(whole, other)
    stranger = dataclasses.replace(whole, classes=("eel", *NAMES[1:]))
    with pytest.raises(ValueError, match=r"nothing is known of eel"):
        without(whole, stranger)
    shifted = dataclasses.replace(whole, sums=whole.sums + 1)
    with pytest.raises(ValueError, match="other sums"):
        without(whole, shifted)


def test_sums_hold_some_images_of_each_class_whatever_the_order() -> None:
    features, labels = clouds()
    step = step_for(features)
    order = np.random.default_rng(1).permutation(len(labels))
    a = merged([sums_of(features, labels, step=step)])
    b = merged([sums_of(features[order], labels[order], step=step)])
    assert same(a, b)
    assert np.bincount(a.held_of).tolist() == [20] * 4
    assert a.held_counted.all()


def test_merge_statistics_tells_what_it_wants() -> None:
    with pytest.raises(ValueError, match="statistics: wanted at least one, got none"):
        merge_statistics([])
    with pytest.raises(TypeError, match="item 0: wanted Statistics, got a str"):
        merge_statistics(["file"])  # type: ignore[list-item]
    features, labels = clouds()
    a = sums_of(features, labels)
    with pytest.raises(ValueError, match="different features"):
        merge_statistics([a, dataclasses.replace(a, digest="1" * 64)])
