"""add_second_moments and quantise against numpy's whole numbers, on every path of this CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyedge import kernels

LARGEST = kernels.LARGEST_VALUE
# rows that are fewer than, as many as, and more than are summed at once; 2^13 of the largest values
# is where float64 sums would end
ROWS = (0, 1, 5, 256, 8193)


@pytest.fixture(params=kernels.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.isa()
    kernels.set_isa(request.param)
    yield request.param
    kernels.set_isa(before)


def values_of(n: int, f: int, seed: int = 0) -> NDArray[np.int32]:
    """Whole numbers over the whole range, both ends among them."""
    random = np.random.default_rng(seed)
    values = random.integers(-LARGEST, LARGEST + 1, (n, f), dtype=np.int32)
    ends = random.random((n, f)) < 0.1
    return np.where(ends, random.choice([-LARGEST, LARGEST], (n, f)), values).astype(np.int32)


def triangle(values: NDArray[np.int32]) -> NDArray[np.int64]:
    whole = values.astype(np.int64)
    return (whole.T @ whole)[np.triu_indices(values.shape[1])]


def moments_of(values: NDArray[np.int32]) -> NDArray[np.int64]:
    f = values.shape[1]
    moments = np.zeros(f * (f + 1) // 2, np.int64)
    kernels.add_second_moments(values, moments)
    return moments


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("f", [1, 2, 7, 42, 101])
def test_moments_equal_numpys_on_any_number_of_threads(f: int) -> None:
    before = kernels.num_threads()
    try:
        for n in ROWS:
            values = values_of(n, f, n)
            there = np.arange(f * (f + 1) // 2) - 7
            want = there + triangle(values)
            for threads in (1, 2, 3):
                kernels.set_num_threads(threads)
                moments = there.copy()
                kernels.add_second_moments(values, moments)
                np.testing.assert_array_equal(moments, want)
    finally:
        kernels.set_num_threads(before)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("n", "f"), [(9, 498), (300, 498), (5, 1000)])
def test_moments_of_many_features_equal_numpys(n: int, f: int) -> None:
    values = values_of(n, f)
    np.testing.assert_array_equal(moments_of(values), triangle(values))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("sign", [-1, 1])
def test_moments_of_the_largest_values_are_exact(sign: int) -> None:
    # an odd number of the largest products of both signs: a sum that were rounded would be even
    values = np.full((8193, 3), LARGEST, np.int32)
    values[:, 1] *= sign
    values[0] = LARGEST - 1
    least, most = (LARGEST - 1) ** 2, 8192 * LARGEST**2
    cross = sign * most + least
    assert moments_of(values).tolist() == [
        most + least, cross, most + least, most + least, cross, most + least,
    ]  # fmt: skip


def test_moments_have_room_for_all_rows_that_are_promised() -> None:
    # 2^23 - 1 rows, of which 2^23 - 8193 are there already
    values = np.full((8192, 1), LARGEST, np.int32)
    moments = np.array([(2**23 - 8193) * LARGEST**2])
    kernels.add_second_moments(values, moments)
    assert moments[0] == (2**23 - 1) * LARGEST**2 < 2**63


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300), st.integers(0, 40), st.integers(1, 60), st.integers(0, 99))
def test_moments_add_up_over_any_split_and_order(n: int, m: int, f: int, seed: int) -> None:
    values = values_of(n + m, f, seed)
    order = np.random.default_rng(seed).permutation(n + m)
    parts = moments_of(values[:n])
    kernels.add_second_moments(values[n:], parts)
    np.testing.assert_array_equal(parts, moments_of(values[order]))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("offset", [1, 2, 3])
def test_moments_read_and_write_starts_between_vectors(offset: int) -> None:
    values = values_of(1, offset + 9 * 30).ravel()[offset:].reshape(9, 30)
    memory = np.zeros(offset + 30 * 31 // 2 + 5, np.int64)
    kernels.add_second_moments(values, memory[offset:-5])
    np.testing.assert_array_equal(memory[offset:-5], triangle(values))
    assert not memory[:offset].any()
    assert not memory[-5:].any()


def test_moments_of_no_features_are_none() -> None:
    assert moments_of(np.zeros((4, 0), np.int32)).shape == (0,)


GOOD, SUMS = np.ones((4, 3), np.int32), np.arange(6)
READ_ONLY = np.arange(6)
READ_ONLY.flags.writeable = False
REFUSED: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "int64": (GOOD.astype(np.int64), SUMS, TypeError, "values: wanted int32, got int64"),
    "list": ([[1]], SUMS, TypeError, "values: wanted a numpy array, got list"),
    "one axis": (GOOD[0], SUMS, ValueError, r"values: wanted shape \[n, f\], got \(3,\)"),
    "gaps": (np.ones((4, 6), np.int32)[:, ::2], SUMS, TypeError, "values: wanted C-contiguous"),
    "fortran": (np.asfortranarray(GOOD), SUMS, TypeError, "values: wanted C-contiguous"),
    "float moments": (GOOD, np.zeros(6), TypeError, "moments: wanted int64, got float64"),
    "square": (GOOD, np.zeros((3, 3), np.int64), ValueError, "moments: wanted shape"),
    "few moments": (GOOD, SUMS[:5], ValueError, r"moments: wanted shape \(6,\), .* 3 columns"),
    "gaps in moments": (GOOD, np.arange(12)[::2], TypeError, "moments: wanted C-contiguous"),
    "read-only": (GOOD, READ_ONLY, ValueError, "moments: .*a read-only one"),
    "too large": (
        GOOD * (LARGEST + 1),
        SUMS,
        ValueError,
        r"values: wanted numbers within \+-1048576",
    ),
    "too small": (
        GOOD * -(LARGEST + 1),
        SUMS,
        ValueError,
        r"values: wanted numbers within \+-1048576",
    ),
    "least int32": (GOOD * np.int32(-(2**31)), SUMS, ValueError, "values: wanted numbers within"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_moments_refuse_what_does_not_fit_and_change_nothing(case: str) -> None:
    values, moments, error, message = REFUSED[case]
    before = np.copy(moments)
    with pytest.raises(error, match=f"^add_second_moments: {message}"):
        kernels.add_second_moments(values, moments)
    np.testing.assert_array_equal(moments, before)


def test_quantise_rounds_halves_to_even_and_clips() -> None:
    step = 2.0**-4
    steps = np.array([0.0, -0.0, 0.5, 1.5, -0.5, -2.5, 3.49, LARGEST, -LARGEST, 2e6, -3e38])
    values, clipped = kernels.quantise((steps * step).astype(np.float32).reshape(1, -1), step)
    assert values.dtype == np.int32
    assert values.tolist() == [[0, 0, 0, 2, 0, -2, 3, LARGEST, -LARGEST, LARGEST, -LARGEST]]
    assert clipped == 2


@pytest.mark.parametrize("step", [2.0**-126, 2.0**-12, 1.0, 4.0, 2.0**127])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (700, 42), (2, 40000)])
def test_quantise_equals_float64(shape: tuple[int, int], step: float) -> None:
    random = np.random.default_rng(1)
    scale = np.float32(1.0 if step in (2.0**-126, 2.0**127) else step * LARGEST / 2)
    features = random.standard_normal(shape, dtype=np.float32) * scale
    exact = np.rint(features.astype(np.float64) / step)
    values, clipped = kernels.quantise(features, step)
    np.testing.assert_array_equal(values, np.clip(exact, -LARGEST, LARGEST))
    assert clipped == np.count_nonzero(np.abs(exact) > LARGEST)


@pytest.mark.parametrize("step", [0.0, -1.0, 3.0, 0.1, np.nan, np.inf, 2.0**-127, 2.0**128])
def test_quantise_refuses_a_step_that_is_no_power_of_two(step: float) -> None:
    with pytest.raises(ValueError, match=r"quantise: step: .*power of two"):
        kernels.quantise(np.ones((2, 2), np.float32), step)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_quantise_refuses_what_is_not_finite(bad: float) -> None:
    features = np.ones((900, 50), np.float32)
    features[899, 49] = bad
    with pytest.raises(ValueError, match="quantise: features: wanted finite"):
        kernels.quantise(features, 0.5)


def test_quantise_refuses_other_dtypes_and_shapes() -> None:
    with pytest.raises(TypeError, match=r"quantise: features: .*float32, got float64"):
        kernels.quantise(np.ones((2, 2)), 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"quantise: features: .*\[n, f\]"):
        kernels.quantise(np.ones(4, np.float32), 1.0)
    with pytest.raises(TypeError, match="quantise: features: wanted C-contiguous"):
        kernels.quantise(np.ones((4, 4), np.float32)[:, ::2], 1.0)
