"""Image files whose numbers mean something else: depths, colours, transparency, frames."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pyedge.data import load_folder
from pyedge.errors import FormatError
from pyedge.images.decode import decode, decode_all
from pyedge.images.edge_images import EdgeImages
from pyedge.images.sources import Entry

RAMP = np.tile(np.arange(0, 256, 8), (32, 1))
GREY = RAMP.astype(np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def tiff(
    pixels: NDArray[Any], photometric: int, *, bits: int = 0, extra: int | None = None,
    turn: int | None = None, size: int = 0,
) -> bytes:  # fmt: skip
    """An uncompressed TIFF of one strip, with the tags that Pillow itself would not write."""
    order = ">" if pixels.dtype.str[0] == ">" else "<"
    h, w = pixels.shape[:2] if not size else (size, size)
    count = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.tobytes()
    kinds = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags = [(256, 4, [w]), (257, 4, [h]), (258, 3, [bits or 8 * pixels.dtype.itemsize] * count),
            (259, 3, [1]), (262, 3, [photometric]), (273, 4, [0]), (277, 3, [count]),
            (278, 4, [h]), (279, 4, [len(data)]), (339, 3, [kinds] * count)]  # fmt: skip
    tags += [] if extra is None else [(338, 3, [extra])]
    tags += [] if turn is None else [(274, 3, [turn])]
    head, body, after = b"", b"", 8 + 2 + 12 * len(tags) + 4
    packed = {tag: struct.pack(f"{order}{len(v)}{'HI'[kind == 4]}", *v) for tag, kind, v in tags}
    long = {tag: value for tag, value in packed.items() if len(value) > 4}
    packed[273] = struct.pack(f"{order}I", after + sum(map(len, long.values())))
    for tag, kind, values in sorted(tags):
        value = packed[tag]
        if tag in long:
            value = struct.pack(f"{order}I", after + len(body))
            body += packed[tag]
        head += struct.pack(f"{order}HHI", tag, kind, len(values)) + value.ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IH", 8, len(tags)) + head + bytes(4) + body + data


def grey_of(data: bytes) -> NDArray[np.uint8]:
    found = decode("x", data)
    assert (found == found[..., :1]).all()
    return found[..., 0]


# Depths


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_decode_of_16_bits_divides_by_256(kind: str) -> None:
    values = (RAMP * 257 + 100).astype(np.uint16)
    assert np.array_equal(grey_of(encoded(values, kind)), values // 256)


@pytest.mark.parametrize(
    "values",
    [RAMP, RAMP * 257, RAMP * 4000, RAMP - 100, RAMP * 0],
    ids=["0..255", "16 bits", "a million", "negative", "black"],
)
def test_decode_of_32_bits_is_refused_with_its_range(values: NDArray[Any]) -> None:
    with pytest.raises(FormatError) as error:
        decode("cat/x.tif", encoded(values.astype(np.int32), "TIFF"))
    assert str(error.value).startswith("cat/x.tif has whole numbers of 32 bits (mode I) from ")
    assert f"from {values.min():.6g} to {values.max():.6g}, " in str(error.value)


@pytest.mark.parametrize("scale", [1, 1 / 255, -1, float("nan")])
def test_decode_of_floats_is_refused(scale: float) -> None:
    values = RAMP.astype(np.float32) * np.float32(scale)
    with pytest.raises(FormatError, match=r"^x\.tif .*floats \(mode F\) .*white"):
        decode("x.tif", encoded(values, "TIFF"))


def test_decode_of_16_signed_bits_is_refused() -> None:
    with pytest.raises(FormatError, match="from -5000 to 19800"):
        decode("x.tif", tiff((RAMP * 100 - 5000).astype("<i2"), 1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_decode_of_8_bits_in_16_is_refused_and_not_black(kind: str) -> None:
    with pytest.raises(FormatError, match=r"above 248, .*65535 .*white"):
        decode("x", encoded(RAMP.astype(np.uint16), kind))
    black = np.zeros((4, 4), np.uint16)
    assert np.array_equal(decode("x", encoded(black, kind)), np.zeros((4, 4, 3)))


def test_decode_of_12_bits_divides_by_16() -> None:
    values = RAMP * 16 + 15
    pairs = values.reshape(-1, 2)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1
    )
    data = tiff(packed.astype(np.uint8).reshape(1, -1), 1, bits=12, size=32)
    assert np.array_equal(grey_of(data), GREY)


def test_decode_all_warns_once_of_12_bits_in_16() -> None:
    data = encoded((RAMP * 16).astype(np.uint16))
    entries = [Entry(f"{i}.png", lambda: data) for i in range(3)]
    with pytest.warns(UserWarning, match=r"0\.png and 2 more: .*16 bits .*4095") as told:
        found = [image for _, image in decode_all(entries)]
    assert len(told) == 1
    assert found[0][0, :, 0].tolist() == (RAMP[0] // 16).tolist()


# Colours


@pytest.mark.parametrize("order", ["<", ">"])
def test_decode_of_tiff_whose_white_is_0_is_turned_round(order: str) -> None:
    assert np.array_equal(grey_of(tiff(GREY, 1)), GREY)
    assert np.array_equal(grey_of(tiff(GREY, 0)), 255 - GREY)
    values = (RAMP * 257).astype(f"{order}u2")
    assert np.array_equal(grey_of(tiff(values, 1)), GREY)
    if order == "<":  # of the other order Pillow knows no inverted ones, and says so
        assert np.array_equal(grey_of(tiff(values, 0)), 255 - GREY)
    else:
        with pytest.raises(FormatError, match="not an image, or a broken one"):
            decode("x", tiff(values, 0))


def test_decode_of_cmyk_jpeg_needs_adobes_mark() -> None:
    data = encoded(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", quality=100)
    assert np.abs(decode("x.jpg", data).astype(int) - COLOURS).max() < 16
    at = data.index(b"Adobe") - 4
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    with pytest.raises(FormatError, match=r"^x\.jpg .*CMYK .*Adobe"):
        decode("x.jpg", data[:at] + data[at + length :])


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGB"])
def test_decode_of_every_usual_mode_keeps_the_brightness(mode: str) -> None:
    grey = (RAMP > 100) * 255 if mode == "1" else RAMP
    picture = Image.fromarray(grey.astype(np.uint8))
    picture = picture.convert(mode if mode in "1LP" else "RGB").convert(mode)
    found = decode("x.tif", encoded(picture, "TIFF")).astype(int)
    assert np.abs(found - grey[..., None]).max() <= 3


def test_decode_of_lab_is_as_bright_as_it_says() -> None:
    lab = np.zeros((8, 8, 3), np.uint8)
    lab[..., 0] = np.arange(8) * 36
    found = decode("x.tif", tiff(lab, 8))
    assert (np.diff(found[0, :, 1].astype(int)) > 0).all()
    assert found[0, 0].max() <= 2
    assert found[0, -1].min() > 235


# Transparency


def alpha_of(value: int) -> NDArray[np.uint8]:
    return np.dstack([COLOURS, np.full((8, 8), value, np.uint8)])


@pytest.mark.parametrize("alpha", [1, 64, 128, 254, 255])
def test_decode_of_transparency_lies_on_white_premultiplied_or_not(alpha: int) -> None:
    share = alpha / 255
    wanted = COLOURS * share + 255 * (1 - share)
    straight = alpha_of(alpha)
    multiplied = straight.copy()
    multiplied[..., :3] = np.rint(COLOURS * share)
    files = [
        encoded(straight),
        encoded(straight, "WEBP", lossless=True),
        tiff(straight, 2, extra=2),
    ]
    for data in (*files, tiff(multiplied, 2, extra=1)):
        assert np.abs(decode("x", data) - wanted).max() <= 1.5
    ignored = decode("x", tiff(straight, 2, extra=0))  # a fourth channel that is no alpha
    assert np.array_equal(ignored, COLOURS)


def test_decode_of_one_transparent_colour_lies_on_white_in_every_mode() -> None:
    key = tuple(map(int, COLOURS[0, 0]))
    found = decode("x.png", encoded(COLOURS, transparency=key))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(found[1:], COLOURS[1:])
    for values in (GREY, (RAMP * 257).astype(np.uint16)):
        found = decode("x.png", encoded(values, transparency=0))
        assert (found[:, 0] == 255).all()
        assert np.array_equal(found[:, 1:, 0], GREY[:, 1:])


def test_decode_all_warns_of_images_that_are_transparent_all_over() -> None:
    with pytest.warns(UserWarning, match=r"b\.png: is transparent all over"):
        found = dict(decode_all([Entry("a.png", lambda: encoded(COLOURS)),
                                 Entry("b.png", lambda: encoded(alpha_of(0)))]))  # fmt: skip
    assert (found["b.png"] == 255).all()


# Frames, sizes, turns


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_decode_all_warns_of_frames_and_takes_the_first(kind: str) -> None:
    first, second = (Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (40, 200))
    data = encoded(first, kind, save_all=True, append_images=[second])
    with pytest.warns(UserWarning, match=r"moving: .*several frames"):
        (found,) = decode_all([Entry("moving", lambda: data)])
    assert (found[1] == 40).all()
    alone = encoded(first, kind)
    assert len(list(decode_all([Entry("still", lambda: alone)]))) == 1


def test_decode_of_a_photo_with_a_preview_is_a_photo() -> None:
    first, second = (Image.fromarray(np.full((16, 16, 3), v, np.uint8)) for v in (40, 200))
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    ((_, found),) = decode_all([Entry("phone.jpg", lambda: data)])
    assert (found == 40).all()


def test_decode_of_more_pixels_than_are_safe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 32)
    assert decode("x.png", data).shape == (32, 32, 3)
    for most in (1023, 500):  # Pillow itself warns of the first, and refuses the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(FormatError, match=r"x\.png.*(MAX_IMAGE_PIXELS|exceeds limit)"):
            decode("x.png", data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode("x.png", data).shape == (32, 32, 3)


def test_decode_of_a_turned_tiff_turns_it_once() -> None:
    data = tiff(np.dstack([GREY[:16]] * 3), 2, turn=6)
    assert np.array_equal(decode("x.tif", data)[..., 0], np.rot90(GREY[:16], -1))


# Many files


def test_decode_all_warns_where_all_images_are_of_0_and_1() -> None:
    bits = [encoded((8 * i < RAMP).astype(np.uint8)) for i in range(5)]
    entries = [Entry(f"{i}.png", lambda d=d: d) for i, d in enumerate(bits)]
    with pytest.warns(UserWarning, match=r"0\.png and 4 more: no pixel .*above 1"):
        list(decode_all(entries))
    list(decode_all(entries[:3]))  # a few dark photos
    list(decode_all([*entries, Entry("lit.png", lambda: encoded(GREY))]))


def folder(path: Path, files: dict[str, bytes]) -> tuple[Path, Path]:
    """The same files in a folder and in an archive."""
    with tarfile.open(path / "all.tar", "w") as archive:
        for name, data in files.items():
            file = path / "all" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path / "all", path / "all.tar"


def test_folder_and_archive_give_the_same_on_both_sides(tmp_path: Path) -> None:
    files = {
        "a/16.png": encoded((RAMP * 257).astype(np.uint16)),
        "a/inverted.tif": tiff(GREY, 0),
        "b/clear.png": encoded(np.dstack([GREY, GREY, GREY, 255 - GREY])),
        "b/cmyk.tif": encoded(Image.fromarray(GREY).convert("CMYK"), "TIFF"),
    }
    found = []
    for path in folder(tmp_path, files):
        found.append(load_folder(path).images)
        found.append(torch.from_numpy(EdgeImages.of(path, (3, 32, 32)).planar(slice(None))))
    assert all(torch.equal(found[0], each) for each in found[1:])


@pytest.mark.parametrize("side", ["cloud", "device"])
def test_folder_with_a_file_that_cannot_be_told_names_it(tmp_path: Path, side: str) -> None:
    files = {"a/1.png": encoded(GREY), "a/2.tif": encoded(RAMP.astype(np.int32), "TIFF")}
    for path in folder(tmp_path, files):
        with pytest.raises(FormatError, match=r"a/2\.tif .*32 bits"):
            load_folder(path) if side == "cloud" else EdgeImages.of(path, (3, 32, 32))


# Images that are no files


def test_pictures_of_pillow_are_read_as_their_files_are() -> None:
    shape = (3, 8, 8)
    pictures = [Image.fromarray(COLOURS), Image.fromarray(alpha_of(128)),
                Image.fromarray(COLOURS).convert("L")]  # fmt: skip
    wanted = np.stack([decode("x.png", encoded(each)) for each in pictures])
    found = EdgeImages.of(pictures, shape, [0, 1, 2])
    assert np.array_equal(found.planar(slice(None)), wanted.transpose(0, 3, 1, 2))
    one = EdgeImages.of(pictures[0], shape)
    assert np.array_equal(one.array, COLOURS[None])
    pairs = EdgeImages.of([(each, i) for i, each in enumerate(pictures)], shape)
    assert pairs.labels.tolist() == [0, 1, 2]
    grey = EdgeImages.of(pictures[2], (1, 8, 8))
    assert np.array_equal(grey.planar(slice(None))[0, 0], np.asarray(pictures[2]))
    with pytest.raises(TypeError, match=r"a Pillow image .*32 bits"):
        EdgeImages.of(Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8)), shape)
    with pytest.raises(ValueError, match=r"got \[1, 4, 8, 3\]"):
        EdgeImages.of(pictures[0].crop((0, 0, 8, 4)), shape)


def test_tensors_are_images_whatever_they_hang_on() -> None:
    pixels = torch.from_numpy(COLOURS).permute(2, 0, 1)[None].repeat(4, 1, 1, 1)
    found = EdgeImages.of(pixels, (3, 8, 8), torch.tensor([0, 1, 0, 1]))
    assert np.array_equal(found.planar(slice(None)), pixels.numpy())
    assert found.labels.tolist() == [0, 1, 0, 1]
    floats = torch.randn(4, 3, 8, 8, requires_grad=True)
    assert np.array_equal(EdgeImages.of(floats * 1, (3, 8, 8)).array, floats.detach().numpy())
    short = EdgeImages.of(floats.bfloat16(), (3, 8, 8)).array
    assert np.array_equal(short, floats.detach().bfloat16().float().numpy())
    with pytest.raises(TypeError, match=r"got float64 from .*images\.astype\(np\.float32\)"):
        EdgeImages.of(floats.double(), (3, 8, 8))


def test_tables_of_pandas_say_what_they_lack() -> None:
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(list(np.stack([COLOURS] * 3)))
    assert len(EdgeImages.of(series, (3, 8, 8), pandas.Series([0, 1, 2]))) == 3
    table = pandas.DataFrame(COLOURS.reshape(3, -1))
    with pytest.raises(TypeError, match=r"DataFrame, .*no height and width"):
        EdgeImages.of(table, (1, 8, 8))
