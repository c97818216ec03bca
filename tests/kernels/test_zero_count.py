"""zero_count and zero_count_affine against numpy, on every path that this CPU has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyedge import kernels

SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64)
SPECIAL = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.2e-38, np.inf, -np.inf, np.nan, 3.4e38], dtype=np.float32
)


@pytest.fixture(params=kernels.available_isas(), autouse=True)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.isa()
    kernels.set_isa(request.param)
    yield request.param
    kernels.set_isa(before)


def awkward(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Normal values, half of them replaced by zeros, denormals, infinities and NaN."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape, dtype=np.float32)
    return np.where(rng.random(shape) < 0.5, rng.choice(SPECIAL, shape), x)


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def affine_count(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return (scale[:, None, None] * x + shift[:, None, None] <= 0).sum((2, 3))


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("c", SIZES)
def test_zero_count_equals_numpy(c: int, layout) -> None:
    scale, shift = awkward((c,), 1), awkward((c,), 2)
    for hw in SIZES:
        x = layout(awkward((2, c, hw, 1), hw))
        np.testing.assert_array_equal(kernels.zero_count(x), (x == 0).sum((2, 3)))
        np.testing.assert_array_equal(
            kernels.zero_count_affine(x, scale, shift), affine_count(x, scale, shift)
        )


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_zero_count_reads_starts_between_vectors(offset: int) -> None:
    memory = awkward((offset + 2 * 17 * 9,))
    x = memory[offset:].reshape(2, 17, 3, 3)
    np.testing.assert_array_equal(kernels.zero_count(x), (x == 0).sum((2, 3)))
    x = memory[offset:].reshape(2, 3, 3, 17).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(kernels.zero_count(x), (x == 0).sum((2, 3)))


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("shape", [(1, 3, 300, 300), (1, 300, 20, 50), (7, 80, 32, 32)])
def test_zero_count_does_not_depend_on_threads(shape, layout) -> None:
    x = layout(awkward(shape))
    want = (x == 0).sum((2, 3))
    before = kernels.num_threads()
    try:
        for threads in (1, 2, 3):
            kernels.set_num_threads(threads)
            np.testing.assert_array_equal(kernels.zero_count(x), want)
    finally:
        kernels.set_num_threads(before)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 5), st.integers(0, 5), st.integers(1, 20), st.integers(1, 9), st.integers(0, 99)
)
def test_zero_count_adds_up_over_batches(n: int, m: int, c: int, side: int, seed: int) -> None:
    x = awkward((n + m, c, side, side), seed)
    whole = kernels.zero_count(x)
    parts = [kernels.zero_count(x[:n]), kernels.zero_count(x[n:])]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert whole.dtype == np.int32
    assert whole.sum() == np.count_nonzero(x == 0)


def test_zero_count_affine_rounds_the_product_first() -> None:
    # 0.1f * 10f rounds to exactly 1; fused with the subtraction it would leave 1.5e-8 > 0.
    x = np.full((1, 1, 3, 7), 0.1, dtype=np.float32)
    scale, shift = np.array([10], np.float32), np.array([-1], np.float32)
    assert kernels.zero_count_affine(x, scale, shift)[0, 0] == 21


def test_zero_count_refuses_other_dtypes_and_layouts() -> None:
    x = np.zeros((2, 4, 6, 6), dtype=np.float32)
    with pytest.raises(TypeError, match=r"zero_count: x: .*float32, got float64"):
        kernels.zero_count(x.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"zero_count: x: .*array, got list"):
        kernels.zero_count([[1.0]])  # type: ignore[arg-type]
    for strided in (x[:, ::2], x[:, :, ::2], x[..., ::-1], x.transpose(1, 0, 2, 3)):
        with pytest.raises(TypeError, match=r"zero_count: x: .*NCHW .*channels-last"):
            kernels.zero_count(strided)
    with pytest.raises(ValueError, match=r"x: .*\[n, c, h, w\], got \(2, 4\)"):
        kernels.zero_count(x[:, :, 0, 0])


def test_zero_count_affine_refuses_factors_of_another_shape() -> None:
    x, good = np.zeros((2, 4, 6, 6), dtype=np.float32), np.zeros(4, dtype=np.float32)
    with pytest.raises(ValueError, match=r"zero_count_affine: scale: .*\(4,\)"):
        kernels.zero_count_affine(x, good[:3], good)
    with pytest.raises(TypeError, match=r"zero_count_affine: shift: .*float32, got int64"):
        kernels.zero_count_affine(x, good, np.zeros(4, dtype=np.int64))  # type: ignore[arg-type]
