"""Resizing as torchvision's Resize, CenterCrop and Normalize have it, whose formulas stand here."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from pyedge.data import BatchLoader, ImageSet, load_dataset, load_folder
from pyedge.images.decode import decode
from pyedge.images.edge_images import EdgeImages
from pyedge.images.preprocessing import Preprocessing, coloured
from pyedge.images.resize import Resize

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANDOM = np.random.default_rng(0)
BORDER = {"size": 8, "shorter": 8, "mode": "border"}
SIZES = [(64, 48), (33, 50), (24, 24), (27, 27), (100, 19), (25, 26)]


def picture(w: int, h: int) -> Image.Image:
    small = RANDOM.integers(0, 256, (h // 3 + 1, w // 3 + 1, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC)


def as_file(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def torchvisions(image: Image.Image, size: int, shorter: int, kind: str) -> NDArray[np.float64]:
    """Resize(shorter, antialias=True), CenterCrop(size), ToTensor, Normalize."""
    w, h = image.size
    new_w = shorter if w <= h else int(shorter * w / h)
    new_h = shorter if h <= w else int(shorter * h / w)
    image = image.resize((new_w, new_h), {"bilinear": 2, "bicubic": 3}[kind])
    top, left = int(round((new_h - size) / 2.0)), int(round((new_w - size) / 2.0))  # noqa: RUF046
    x = np.asarray(image).astype(np.float64)[top : top + size, left : left + size] / 255
    return ((x - MEAN) / DEVIATION).transpose(2, 0, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("side", "shorter"), [(16, 18), (24, 24), (24, 27), (32, 36)])
def test_resize_is_torchvisions(size: tuple[int, int], kind: str, side: int, shorter: int) -> None:
    image = picture(*size)
    how = Preprocessing("channel", MEAN, DEVIATION, Resize(side, shorter, kind))
    for data in (as_file(image), as_file(image, "JPEG")):  # which is not decoded at a lower scale
        pixels = decode("x", data, how.resize).transpose(2, 0, 1)[None]
        wanted = torchvisions(Image.open(io.BytesIO(data)), side, shorter, kind)
        np.testing.assert_allclose(how.apply(pixels)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_resize_is_torchs_antialiased_interpolation_up_to_rounding(kind: str) -> None:
    image = picture(64, 48)
    got = np.asarray(Resize(16, 16, kind).picture(image)).astype(int)
    whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double()
    wanted = F.interpolate(whole, (16, 21), mode=kind, antialias=True).clamp(0, 255)
    wanted = wanted[0, :, :, 2:18].permute(1, 2, 0)  # round((21 - 16) / 2) is 2
    # Pillow rounds twice, to whole pixels: after the rows and after the columns
    assert np.abs(got - wanted.numpy()).max() <= 1.5


def test_resize_by_fraction_gives_the_side_it_came_from() -> None:
    for shorter in range(224, 400):
        assert Resize.of_fraction(224, 224 / shorter).shorter == shorter
    assert Resize.of_fraction(224, 0.95, "bicubic") == Resize(224, 235, "bicubic")
    for fraction in (0, -1, 1.01, float("nan")):
        with pytest.raises(ValueError, match=r"^crop: wanted a fraction above 0, up to 1"):
            Resize.of_fraction(224, fraction)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"size": 8}, ValueError, "^here: wanted size, shorter"),
        ({"size": 8, "shorter": 8, "modus": 1}, ValueError, "^here: wanted size, shorter"),
        ({"size": 8, "shorter": 8, "mode": 1}, ValueError, "mode: wanted center, squash or border"),
        ({"size": [8, 9], "shorter": 8}, ValueError, "shorter: wanted 9 to 16384 pixels, got 8"),
        ({"size": [8, 9, 9], "shorter": 8}, TypeError, r"size: .*or two, got \[8, 9, 9\]"),
        ({"size": 8, "shorter": 8, "fill": [1]}, ValueError, "fill: wanted none for mode 'center'"),
        ({**BORDER, "fill": [1, 2]}, ValueError, r"fill: wanted one or three .* got \[1, 2\]"),
        ({**BORDER, "fill": [1, 2, 256]}, ValueError, "fill: wanted one or three .* 256"),
        ({**BORDER, "fill": 5}, TypeError, "fill: wanted a list of whole numbers, got 5"),
        ({"size": 8, "shorter": 7}, ValueError, "shorter: wanted 8 to 16384 pixels, got 7"),
        ({"size": 0, "shorter": 7}, ValueError, "size: wanted 1 to"),
        ({"size": 8, "shorter": 1 << 20}, ValueError, "shorter: wanted 8 to 16384"),
        ({"size": 8.0, "shorter": 9}, TypeError, "size: wanted a whole number, or two, got 8.0"),
        ({"size": 8, "shorter": 9, "interpolation": "lanczos"}, ValueError, "bilinear or bicubic"),
        (8, TypeError, "^here: wanted a Resize or a dict, got 8"),
    ],
)
def test_resize_that_is_none_is_refused(given: object, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        Resize.of(given, "here")  # type: ignore[arg-type]


def test_preprocessing_with_sizes_comes_back_from_its_dict() -> None:
    how = Preprocessing.of({"kind": "none", "resize": {"size": 8, "shorter": 9}, "colour": "grey"})
    assert how == Preprocessing("none", resize=Resize(8, 9), colour="grey")
    assert Preprocessing.of(how.to_dict(), 1) == how
    assert str(how) == "none, 8 of a shorter side of 9 (bilinear), grey"
    how.check_shape((1, 8, 8), "here")
    with pytest.raises(ValueError, match=r"^here: colour 'grey': wanted a network of 1 channels"):
        how.check_shape((3, 8, 8), "here")
    with pytest.raises(ValueError, match=r"^here: resize: size: wanted 9x9, .*, got 8x8"):
        how.check_shape((1, 9, 9), "here")
    with pytest.raises(ValueError, match="colour: wanted rgb or grey, got 'gray'"):
        Preprocessing.of({"kind": "none", "colour": "gray"})


def test_preprocessing_agrees_with_one_that_says_no_size() -> None:
    plain = Preprocessing.of("imagenet")
    sized = Preprocessing("channel", plain.mean, plain.deviation, Resize(8, 9))
    other = Preprocessing("channel", plain.mean, plain.deviation, Resize(8, 10))
    assert sized.agrees(plain)
    assert plain.agrees(sized)
    assert not sized.agrees(other)
    assert not sized.agrees(Preprocessing("none", resize=Resize(8, 9)))
    assert plain.with_sizes_of(sized) == sized
    assert other.with_sizes_of(sized) == other


TIMM = {"mean": MEAN, "std": DEVIATION, "input_size": (3, 224, 224), "interpolation": "bicubic"}


def test_preprocessing_takes_the_settings_of_timm() -> None:
    sizes = {"interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center"}
    assert Preprocessing.of({**TIMM, **sizes}) == Preprocessing(
        "channel", MEAN, DEVIATION, Resize(224, 235, "bicubic")
    )
    assert Preprocessing.of(TIMM).resize == Resize(224, 256, "bicubic")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input_size": (3, 224)}, "input_size: wanted three numbers"),
        ({"crop_mode": "squish"}, "crop_mode: wanted center, squash, border, got 'squish'"),
        ({"interpolation": "lanczos"}, "interpolation: wanted bilinear or bicubic"),
        ({"crop_pct": 1.5}, "crop: wanted a fraction"),
        ({"std": ()}, "a number for each channel"),
    ],
)
def test_preprocessing_refuses_other_settings_of_timm(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Preprocessing.of({**TIMM, **change})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of several sizes in two classes."""
    for i, size in enumerate(SIZES):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture(*size).save(folder / f"{i}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("colour", ["", "grey"])
def test_resize_is_the_same_in_readers_and_on_the_device(photos: Path, colour: str) -> None:
    how = Preprocessing("none", resize=Resize(16, 18, "bicubic"), colour=colour)
    c = 1 if colour else 3
    read = load_folder(photos, preprocessing=how)
    assert read.images.shape == (6, c, 16, 16)
    device = EdgeImages.of(photos, (c, 16, 16), preprocessing=how.to_dict())
    np.testing.assert_array_equal(device.planar(slice(None)), read.images.numpy())
    files = [str(photos / "a" / f"{i}.png") for i in (0, 2, 4)]
    listed = EdgeImages.of(files, (c, 16, 16), labelled=False, preprocessing=how.to_dict())
    np.testing.assert_array_equal(listed.planar(slice(None)), read.images.numpy()[:3])
    opened = [Image.open(file) for file in files]
    seen = EdgeImages.of(opened, (c, 16, 16), labelled=False, preprocessing=how.to_dict())
    np.testing.assert_array_equal(seen.planar(slice(None)), read.images.numpy()[:3])
    # without a word they are cut as they always were, which is not the same
    before = EdgeImages.of(photos, (c, 16, 16))
    assert (before.planar(slice(None)) != read.images.numpy()).any()


def test_arrays_of_another_size_are_resized_on_the_device() -> None:
    """As a camera gives them; those of the student's size have been cut."""
    frames = np.stack([np.asarray(picture(40, 30)) for _ in range(3)])
    resize = Resize(16, 18, "bicubic")
    how = Preprocessing("none", resize=resize).to_dict()
    cut = [np.asarray(resize.picture(Image.fromarray(each))) for each in frames]
    wanted = np.stack(cut).transpose(0, 3, 1, 2)
    planar = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    for given in (frames, planar, list(frames), iter(frames), torch.from_numpy(planar)):
        seen = EdgeImages.of(given, (3, 16, 16), labelled=False, preprocessing=how)
        np.testing.assert_array_equal(seen.planar(slice(None)), wanted)
    same = EdgeImages.of(wanted, (3, 16, 16), preprocessing=how)
    np.testing.assert_array_equal(same.planar(slice(None)), wanted)
    grey = EdgeImages.of(frames, (1, 16, 16), preprocessing=how).planar(slice(None))
    np.testing.assert_array_equal(grey, coloured(wanted, 1))
    np.testing.assert_array_equal(
        EdgeImages.of(wanted, (1, 16, 16), preprocessing=how).planar(slice(None)), grey
    )
    with pytest.raises(ValueError, match=r"got \[3, 30, 40, 4\]"):
        EdgeImages.of(np.zeros((3, 30, 40, 4), np.uint8), (3, 16, 16), preprocessing=how)
    with pytest.raises(ValueError, match=r"got \[3, 30, 40, 3\]"):
        EdgeImages.of(frames, (3, 16, 16))
    with pytest.raises(ValueError, match=r"got \[3, 30, 40, 3\]"):
        EdgeImages.of(frames.astype(np.float32), (3, 16, 16), preprocessing=how)


def test_loader_resizes_what_is_not_of_the_networks_size() -> None:
    pixels = np.stack([np.asarray(picture(40, 30)).transpose(2, 0, 1) for _ in range(4)])
    images = ImageSet(torch.from_numpy(pixels), torch.zeros(4).long(), ["a"])
    resize = {"size": 16, "shorter": 18, "interpolation": "bicubic"}
    how = {"kind": "channel", "mean": MEAN, "deviation": DEVIATION, "resize": resize}
    x, _ = next(iter(BatchLoader(images, 4, shuffle=False, preprocessing=how)))
    for got, image in zip(x.numpy(), pixels, strict=True):
        wanted = torchvisions(Image.fromarray(image.transpose(1, 2, 0)), 16, 18, "bicubic")
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    small = ImageSet(images.images[:, :, :16, :16], images.labels, ["a"])
    x, _ = next(iter(BatchLoader(small, 4, shuffle=False, preprocessing=how)))
    np.testing.assert_array_equal(
        x, Preprocessing.of({**how, "resize": None}).apply(small.images.numpy())
    )
    grey = BatchLoader(small, 4, preprocessing={"kind": "none", "colour": "grey"})
    assert next(iter(grey))[0].shape == (4, 1, 16, 16)


def test_digits_become_what_a_network_takes() -> None:
    how = Preprocessing("none", resize=Resize(16, 18), colour="rgb")
    train, val, test = load_dataset("digits", preprocessing=how)
    for part in (train, val, test):
        assert part.images.shape[1:] == (3, 16, 16)
        assert torch.equal(part.images[:, 0], part.images[:, 2])
    with pytest.raises(ValueError, match="size: wanted 16, as preprocessing says, or none, got 8"):
        load_dataset("digits", size=8, preprocessing=how)
