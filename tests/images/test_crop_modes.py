"""Squashed, bordered and oblong pictures as timm's evaluation has them; its formulas stand here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pyedge.images.edge_images import EdgeImages
from pyedge.images.preprocessing import Preprocessing
from pyedge.images.resize import Resize

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL = (124, 116, 104)  # round(255 mean)
RANDOM = np.random.default_rng(1)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def picture(w: int, h: int) -> Image.Image:
    small = RANDOM.integers(0, 256, (h // 3 + 1, w // 3 + 1, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC)


def timms(
    image: Image.Image, size: tuple[int, int], share: float, kind: str, mode: str
) -> NDArray[np.uint8]:
    """transforms_imagenet_eval up to the pixels, by arrays where Pillow does not resize."""
    (w, h), (down, across) = image.size, size
    scaled = int(down / share + 1e-6), int(across / share + 1e-6)
    if mode == "squash":
        new_h, new_w = scaled
    elif mode == "center" and scaled[0] == scaled[1]:  # torchvision's Resize of one number
        new_h = scaled[0] if h <= w else int(scaled[0] * h / w)
        new_w = scaled[0] if w <= h else int(scaled[0] * w / h)
    else:  # ResizeKeepRatio, longest=1.0 for a border
        ratio = (max if mode == "border" else min)(h / scaled[0], w / scaled[1])
        new_h, new_w = round(h / ratio), round(w / ratio)
    pixels = np.asarray(image.resize((new_w, new_h), FILTERS[kind]))
    if mode == "border":
        lacking = [max(0, want - have) for want, have in ((down, new_h), (across, new_w))]
        pad = [(each // 2, (each + 1) // 2) for each in lacking]
        pixels = np.stack(
            [np.pad(pixels[:, :, c], pad, constant_values=FILL[c]) for c in range(3)], axis=2
        )
    top = int(round((pixels.shape[0] - down) / 2.0))  # noqa: RUF046
    left = int(round((pixels.shape[1] - across) / 2.0))  # noqa: RUF046
    return pixels[top : top + down, left : left + across]


def settings(size: tuple[int, int], share: float, kind: str, mode: str) -> dict[str, Any]:
    """A timm network's pretrained_cfg."""
    cfg = {"mean": MEAN, "std": DEVIATION, "input_size": (3, *size), "crop_pct": share}
    return {**cfg, "interpolation": kind, "crop_mode": mode}


@pytest.mark.parametrize("wh", [(64, 48), (33, 50), (24, 24), (100, 19), (9, 12), (25, 27)])
@pytest.mark.parametrize("size", [(24, 24), (16, 28), (27, 16)])
@pytest.mark.parametrize("share", [1.0, 0.9, 0.71])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_pixels_are_timms(
    wh: tuple[int, int], size: tuple[int, int], share: float, mode: str
) -> None:
    image = picture(*wh)
    for kind in FILTERS:
        how = Preprocessing.of(settings(size, share, kind, mode))
        assert how.resize is not None
        wanted = timms(image, size, share, kind, mode)
        got = np.asarray(how.resize.picture(image))
        assert got.shape == (*size, 3)
        np.testing.assert_array_equal(got, wanted)
        if image.size == size[::-1]:
            continue  # an array of the network's size is taken for resized
        pixels = np.asarray(image).transpose(2, 0, 1)[None]
        x = how.apply(pixels)[0].transpose(1, 2, 0)
        np.testing.assert_allclose(x, (wanted / 255 - MEAN) / DEVIATION, atol=1e-5)


def test_border_of_a_grey_picture_is_as_bright_as_its_colour() -> None:
    pixels = np.full((1, 1, 4, 8), 9, np.uint8)
    made = Resize.of({"size": 8, "shorter": 8, "mode": "border", "fill": FILL}).arrays(pixels)
    # round(0.299 * 124 + 0.587 * 116 + 0.114 * 104)
    assert made[0, 0].tolist() == [[117] * 8] * 2 + [[9] * 8] * 4 + [[117] * 8] * 2
    one = Resize(8, 8, mode="border", fill=(7,))
    assert one.arrays(pixels)[0, 0, 0, 0] == 7
    assert one.arrays(np.repeat(pixels, 3, 1))[0, :, 0, 0].tolist() == [7] * 3
    assert Resize(8, 8, mode="border").arrays(pixels)[0, 0, 0, 0] == 0


@pytest.mark.parametrize(
    ("how", "told", "says"),
    [
        (
            Resize((16, 28), (18, 31), "bicubic"),
            {"size": [16, 28], "shorter": [18, 31], "interpolation": "bicubic"},
            "16x28 of a shorter side of 18x31 (bicubic)",
        ),
        (
            Resize(16, 18, mode="squash"),
            {"size": 16, "shorter": 18, "interpolation": "bilinear", "mode": "squash"},
            "16 of 18, squashed (bilinear)",
        ),
        (
            Resize(16, 16, mode="border", fill=FILL),
            {"size": 16, "shorter": 16, "interpolation": "bilinear", "mode": "border"}
            | {"fill": [124, 116, 104]},
            "16 of 16 with a border (bilinear)",
        ),
    ],
)
def test_resize_comes_back_from_what_files_say(
    how: Resize, told: dict[str, Any], says: str
) -> None:
    assert how.to_dict() == told
    assert Resize.of(told) == how
    assert str(how) == says


def test_device_reads_oblong_and_bordered_pictures_as_the_cloud_does(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    image = picture(40, 30)
    image.save(tmp_path / "photos" / "a" / "0.png")
    for mode in ("center", "squash", "border"):
        how = Preprocessing.of(settings((16, 28), 0.9, "bilinear", mode))
        found = EdgeImages.of(
            tmp_path / "photos", (3, 16, 28), preprocessing=how.to_dict(), labelled=True
        )
        assert how.resize is not None
        np.testing.assert_array_equal(found.array[0], np.asarray(how.resize.picture(image)))
