"""Preprocessing: names, dicts, numbers, and what becomes of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from pyedge.images.preprocessing import NAMES, Preprocessing

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (5, 3, 6, 7)).astype(np.uint8)


def test_preprocessing_of_channels_is_the_formula_of_torchvision() -> None:
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    got = Preprocessing.of("imagenet").apply(PIXELS)
    assert got.dtype == np.float32
    for c in range(3):
        wanted = (PIXELS[:, c].astype(np.float64) / 255 - mean[c]) / deviation[c]
        np.testing.assert_allclose(got[:, c], wanted, atol=1e-5)


def test_preprocessing_of_images_and_of_none() -> None:
    x = Preprocessing.of("image").apply(PIXELS)
    np.testing.assert_allclose(x.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((1, 2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(Preprocessing.of("none").apply(PIXELS), PIXELS / 255, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_comes_back_from_its_dict_and_says_its_name(name: str) -> None:
    made = Preprocessing.of(name, 3)
    assert Preprocessing.of(made.to_dict()) == made == Preprocessing.of(made)
    assert str(made) == name


def test_preprocessing_with_own_numbers_says_them() -> None:
    made = Preprocessing.of({"kind": "channel", "mean": [0.5], "deviation": np.array([0.25])}, 1)
    assert str(made) == "mean 0.5 and deviation 0.25 of each channel"


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("imagnet", ValueError, r"^here: wanted .*imagenet.*, got 'imagnet'$"),
        (3, TypeError, "^here: wanted .*, got 3$"),
        ({"kind": "channel", "std": [1]}, ValueError, "^here: wanted"),
        ({"kind": "channel", "mean": [0.5], "deviation": [1]}, ValueError, "3 numbers in mean"),
        ({"kind": "none", "mean": [0.5] * 3}, ValueError, "no numbers in mean"),
        (
            {"kind": "channel", "mean": [0.5] * 3, "deviation": [1, 0, 1]},
            ValueError,
            "deviation: wanted numbers above 0",
        ),
        (
            {"kind": "channel", "mean": [0, 0, np.nan], "deviation": [1] * 3},
            ValueError,
            "mean: wanted finite",
        ),
        (
            {"kind": "channel", "mean": "0.5", "deviation": [1] * 3},
            TypeError,
            "mean: wanted a list",
        ),
    ],
)
def test_preprocessing_that_is_none_is_refused(given: object, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        Preprocessing.of(given, 3, "here")  # type: ignore[arg-type]


def test_preprocessing_wants_the_channels_of_the_images() -> None:
    with pytest.raises(ValueError, match="mean: wanted 1 numbers"):
        Preprocessing.of("imagenet").apply(PIXELS[:, :1])
