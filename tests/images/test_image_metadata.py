"""Good images with broken metadata are good images; images that break off are refused by name."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from pyedge.errors import FormatError
from pyedge.images.decode import decode
from pyedge.images.edge_images import EdgeImages
from pyedge.images.png_chunks import without_damage
from tests.support.folder_trees import chunk, encoded, folder, pixels, tree

IMAGE = pixels(0, 16, 24)


def png(*chunks: bytes, late: bytes = b"") -> bytes:
    data = encoded(IMAGE)
    end = data.index(b"IEND") - 4
    return data[:33] + b"".join(chunks) + data[33:end] + late + data[end:]


def jpeg(marker: int, payload: bytes) -> bytes:
    data = encoded(IMAGE, "JPEG", quality=95)
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload + data[2:]


def exif(tag: int, kind: int, count: int, value: bytes) -> bytes:
    entry = struct.pack("<HHI", tag, kind, count) + value
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(20)


@pytest.mark.parametrize(
    "data",
    [
        png(chunk(b"tEXt", b"a\0b", 0)),
        png(chunk(b"gAMA", struct.pack(">I", 45455), 1)),
        png(chunk(b"iCCP", b"x\0\0no zlib")),
        png(chunk(b"iCCP", b"x\0\0no zlib", 1)),
        png(chunk(b"iCCP", b"x")),
        png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 << 20)))),
        png(chunk(b"iTXt", b"a\0\1")),
        png(chunk(b"pHYs", b"ab")),
        png(chunk(b"cHRM", b"ab")),
        png(chunk(b"sRGB", b"")),
        png(chunk(b"eXIf", b"garbage!")),
        png(late=chunk(b"eXIf", b"garbage!")),
        png(late=chunk(b"tEXt", b"a\0b", 0)),
        png(chunk(b"acTL", b"\0")),
        png(chunk(b"vpAg", b"mine")),
        png() + b"garbage" * 99,
        png()[:-4] + bytes(4),
    ],
)
def test_png_with_broken_metadata_gives_its_pixels(data):
    assert np.array_equal(decode("a.png", data), IMAGE)


def test_png_with_broken_metadata_keeps_its_orientation_and_transparency():
    turned = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    out = decode("a.png", png(chunk(b"eXIf", turned), chunk(b"tEXt", b"a", 0)))
    assert np.array_equal(out, np.rot90(IMAGE, -1))
    palette = Image.fromarray(IMAGE).quantize(4)
    out = io.BytesIO()
    palette.save(out, "PNG", transparency=0)
    data = out.getvalue()[:33] + chunk(b"pHYs", b"") + out.getvalue()[33:]
    hidden = np.asarray(palette) == 0
    assert hidden.any()
    assert (decode("a.png", data)[hidden] == 255).all()


def test_png_with_broken_pixels_is_refused_with_or_without_its_metadata():
    whole = png()
    body = bytearray(whole)
    body[body.index(b"IDAT") + 10] ^= 255
    for data in (bytes(body), whole[: len(whole) // 2], png(chunk(b"pHYs", b""))[:200]):
        with pytest.raises(FormatError, match=r"a\.png: not an image"):
            decode("a.png", data)
    assert without_damage(whole) is None  # nothing to leave out
    assert without_damage(encoded(IMAGE, "JPEG")) is None


@pytest.mark.parametrize(
    "data",
    [
        jpeg(0xE1, b"Exif\0\0" + b"\xde\xad\xbe\xef" * 5),
        jpeg(0xE1, b"Exif\0\0II"),
        jpeg(0xE1, exif(0x0112, 3, 1, b"\x09\0\0\0")),  # orientation 9 is none
        jpeg(0xE1, exif(0x0112, 2, 2, b"ab\0\0")),  # a text
        jpeg(0xE2, b"ICC_PROFILE\0\x01\x03abc"),  # the first of three parts
        jpeg(0xE2, b"ICC_PROFILE\0\x01\x01abc"),
        jpeg(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x \xff\xfe tiff:Orientation='99'>"),
        jpeg(0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x05abc"),
        encoded(IMAGE, "JPEG", quality=95) + b"garbage" * 99,
        encoded(IMAGE, "JPEG", quality=95) * 2,
    ],
)
def test_jpeg_with_broken_metadata_gives_its_pixels(data):
    plain = decode("a.jpg", encoded(IMAGE, "JPEG", quality=95))
    assert np.array_equal(decode("a.jpg", data), plain)


def test_webp_with_broken_exif_gives_its_pixels():
    data = encoded(IMAGE, "WEBP", lossless=True, exif=b"Exif\0\0garbage")
    assert np.array_equal(decode("a.webp", data), IMAGE)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "MPO", "WEBP", "TIFF"])
def test_image_of_several_pictures_gives_the_first(kind):
    first, second = (Image.fromarray(np.full((16, 16, 3), v, np.uint8)) for v in (80, 200))
    out = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    first.save(out, kind, save_all=True, append_images=[second], **options)
    assert np.abs(decode("a", out.getvalue()).astype(int) - 80).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_image_that_breaks_off_is_refused_not_grey(kind, part):
    data = encoded(IMAGE, kind)
    with pytest.raises(FormatError, match=r"b\.jpg: not an image"):
        decode("b.jpg", data[: int(len(data) * part)])


def test_images_that_break_off_are_warned_of_where_the_program_has_pillow_take_them(
    tmp_path, monkeypatch
):
    path = folder(tmp_path, tree("cat/1.png"))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.warns(UserWarning, match=r"LOAD_TRUNCATED_IMAGES .*set"):
        EdgeImages.from_folder(path, (3, 6, 6))
