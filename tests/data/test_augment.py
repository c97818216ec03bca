"""Standardisation against its formula, and what augmentation may and may not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyedge.data import Augment, standardise
from pyedge.data.augment import _standardise_on_device, standardise_array


def formula(images: torch.Tensor) -> torch.Tensor:
    x = images.double().flatten(1)
    bound = x.shape[1] ** -0.5
    std = x.std(1, correction=0, keepdim=True).clamp(min=bound)
    return ((x - x.mean(1, keepdim=True)) / std).view(images.shape)


@pytest.mark.parametrize("shape", [(5, 3, 32, 32), (1, 1, 8, 8), (3, 1, 1, 1), (2, 3, 7, 5)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_standardise_equals_the_formula(shape, dtype):
    torch.manual_seed(0)
    images = torch.randint(0, 256, shape).to(dtype)
    result = standardise(images)
    assert result.dtype == torch.float32
    # float32 sums of some 3,000 pixels, pairwise: well under 1e-5 of values around 1
    torch.testing.assert_close(result.double(), formula(images), rtol=1e-5, atol=1e-5)


def test_standardise_even_image_is_zero_and_faint_one_is_bounded():
    even = torch.full((1, 3, 8, 8), 200, dtype=torch.uint8)
    assert not standardise(even).any()
    faint = even.float()
    faint[0, 0, 0, 0] += 0.001
    torch.testing.assert_close(standardise(faint).double(), formula(faint), rtol=0.05, atol=1e-4)


def test_standardise_low_contrast_on_bright_ground_keeps_its_digits():
    torch.manual_seed(0)
    images = 250 + torch.randint(0, 2, (4, 3, 32, 32))
    got = standardise(images.to(torch.uint8)).double()
    torch.testing.assert_close(got, formula(images), rtol=1e-4, atol=1e-4)


def test_standardise_leaves_its_input_and_takes_no_images():
    images = torch.rand(2, 3, 4, 4)
    before = images.clone()
    standardise(images)
    assert torch.equal(images, before)
    assert standardise(torch.empty(0, 3, 4, 4, dtype=torch.uint8)).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_standardise_of_other_devices_equals_the_cpu_path(dtype):
    images = torch.randint(0, 256, (3, 3, 6, 6)).to(dtype)
    images[1] = 7
    got = _standardise_on_device(images)
    torch.testing.assert_close(got, standardise(images), rtol=1e-5, atol=1e-6)
    meta = standardise(images.to("meta"))
    assert (meta.shape, meta.dtype) == (images.shape, torch.float32)


def test_standardise_wants_four_dimensions():
    with pytest.raises(ValueError, match="standardise: wanted images"):
        standardise(torch.zeros(3, 4, 4))


def test_standardise_channels_last_input_gives_the_same():
    images = torch.randint(0, 256, (3, 3, 6, 5), dtype=torch.uint8)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(standardise(images), standardise(last))


def batch(n: int = 16, h: int = 9, w: int = 7) -> torch.Tensor:
    return torch.randint(1, 256, (n, 3, h, w), dtype=torch.uint8)


def test_augment_switched_off_is_a_copy():
    images = batch()
    out = Augment(0, False, 0)(images, np.random.default_rng(0))
    assert torch.equal(out, images)
    assert out.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_augment_crop_is_a_shifted_window_of_the_padded_image(dtype):
    images = batch().to(dtype)
    augment = Augment(crop_padding=2, flip=False, cutout=0)
    draw = augment.draw(16, 9, 7, np.random.default_rng(0))
    out = torch.from_numpy(augment.apply(images.numpy(), draw))
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    for i, (dy, dx) in enumerate(draw.shift):
        assert torch.equal(out[i], padded[i, :, dy : dy + 9, dx : dx + 7])
    assert len({tuple(s) for s in draw.shift.tolist()}) > 4


def test_augment_flip_mirrors_about_half_of_the_images():
    images = batch(400, 4, 3)
    out = Augment(0, True, 0)(images, np.random.default_rng(0))
    same = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 150 < int(mirrored.sum()) < 250  # five deviations of a fair coin


def test_augment_cutout_zeroes_one_rectangle_of_all_channels():
    out = Augment(0, False, 4)(batch(64, 9, 7), np.random.default_rng(0))
    sizes = set()
    for image in out:
        hole = image == 0
        assert torch.equal(hole[0], hole[1])
        assert torch.equal(hole[0], hole[2])
        rows, columns = hole[0].any(1), hole[0].any(0)
        assert torch.equal(hole[0], rows[:, None] & columns[None])
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert max(sizes) == (4, 4)
    assert min(sizes)[0] >= 2  # the centre lies inside


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(0, 6),
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    padding=st.integers(0, 5),
    flip=st.booleans(),
    cutout=st.integers(0, 14),
    seed=st.integers(0, 9),
)
def test_augment_keeps_shape_dtype_and_input(n, h, w, padding, flip, cutout, seed):
    images = batch(n, h, w)
    before = images.clone()
    augment = Augment(padding, flip, min(cutout, 2 * min(h, w) - 1))
    out = augment(images, np.random.default_rng(seed))
    assert (out.shape, out.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)
    assert torch.equal(out, augment(images, np.random.default_rng(seed)))


def test_augment_part_of_a_draw_augments_as_the_whole():
    images, augment = batch(), Augment(2, True, 3)
    draw = augment.draw(16, 9, 7, np.random.default_rng(5))
    whole = augment.apply(images.numpy(), draw)
    part = augment.apply(images.numpy()[4:9], draw.part(slice(4, 9)))
    assert np.array_equal(part, whole[4:9])


def test_augment_bad_arguments_are_named():
    with pytest.raises(ValueError, match="wanted numbers from 0"):
        Augment(crop_padding=-1)
    with pytest.raises(ValueError, match="Augment: wanted images"):
        Augment()(torch.zeros(3, 4, 4), np.random.default_rng(0))


def test_standardise_array_of_uint8_and_float_agree():
    images = batch().numpy()
    assert np.array_equal(standardise_array(images), standardise_array(images.astype(np.float32)))


def test_augment_refuses_a_cutout_that_leaves_nothing():
    with pytest.raises(ValueError, match=r"cutout: .*less than 16 .*8 x 8"):
        Augment()(torch.ones(2, 1, 8, 8), np.random.default_rng(0))
