"""Which files of a folder are images, and that all else is said, with the number and the reason."""

from __future__ import annotations

import os
import re
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest

from pyedge.errors import FormatError
from pyedge.images import file_kinds
from pyedge.images.edge_images import EdgeImages
from tests.support.folder_trees import encoded, folder, pixels, tarred, tree, zipped

pytest.importorskip("PIL.Image")

BASE = ("cat/0.png", "cat/1.png", "dog/0.png")
SHAPE = (3, 6, 6)


def read(path: Path, **options):
    return EdgeImages.from_folder(path, SHAPE, **options)


def told(path: Path, **options) -> str:
    """Read, and return the one warning of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(path, **options)
    assert len(caught) == 1
    assert caught[0].category is UserWarning
    return str(caught[0].message)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[("a.jfif", "JPEG"), ("a.JPE", "JPEG"), ("a.jif", "JPEG"), ("a.mpo", "JPEG")],
        *[("a.WebP", "WEBP"), ("a.bmp", "BMP"), ("a.dib", "BMP"), ("a.TIF", "TIFF")],
        *[("a.gif", "GIF"), ("a.pnm", "PPM"), ("a.jp2", "JPEG2000"), ("a.jpeg2000", "JPEG2000")],
        *[("n01440764_1", "JPEG"), ("a.", "PNG"), ("a.txt", "JPEG"), ("a.image", "WEBP")],
        *[("a.jpg", "PNG"), ("a.png", "BMP"), ("a.JPG_large", "PNG"), ("photo.jpg.1", "TIFF")],
    ],
)
def test_file_is_an_image_by_its_extension_or_else_by_its_bytes(tmp_path, name, kind):
    data = encoded(pixels(7), kind)
    found = read(folder(tmp_path / "a", tree(*BASE) | {f"dog/{name}": data}))
    assert found.labels.tolist() == [0, 0, 1, 1]
    if kind in ("PNG", "BMP", "WEBP", "TIFF"):
        last = 3 if f"dog/{name}" > "dog/0.png" else 2
        difference = found.array[last].astype(int) - pixels(7)
        assert np.abs(difference).max() <= (0 if kind != "WEBP" else 255)


def test_file_avif_is_read_where_pillow_decodes_it_and_told_where_not(tmp_path, monkeypatch):
    from PIL import features

    path = folder(tmp_path, tree(*BASE))
    if "AVIF" in file_kinds.formats():
        (path / "dog" / "1.avif").write_bytes(encoded(np.full((6, 6, 3), 90, np.uint8), "AVIF"))
        assert abs(int(read(path).array[3].mean()) - 90) < 5
    else:
        (path / "dog" / "1.avif").write_bytes(b"\0\0\0\x20ftypavif")
    monkeypatch.setattr(features, "check", lambda name: False)
    file_kinds.formats.cache_clear()
    try:
        assert "1 of 4 files was left out: 1 .avif (AVIF: this Pillow" in told(path)
        os.rename(path / "dog" / "1.avif", path / "dog" / "1.jpg")
        assert "1 .jpg (AVIF: this Pillow does not decode it" in told(path)
    finally:
        monkeypatch.undo()
        file_kinds.formats.cache_clear()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.HEIC", b"x", "1 .heic (HEIC: Pillow does not decode it; pip install pillow-heif"),
        ("a.jpg", b"\0\0\0\x20ftypheic\0\0\0\0mif1heic", "1 .jpg (HEIC: Pillow does not decode"),
        ("a.svg", b"<svg xmlns='x'/>", "1 .svg (SVG: a drawing, not pixels: dog/a.svg)"),
        ("a.psd", b"8BPS\0\1", "1 .psd (PSD: export it"),
        ("a.ico", b"\0\0\1\0", "1 .ico (an icon"),
        ("a.tga", b"\0\0\2\0", "1 .tga (a format that is not read: convert it to PNG or JPEG"),
        ("a.jxl", b"\xff\x0a", "1 .jxl (JPEG XL"),
        ("a.jpg", b"\r\n<!DOCTYPE html><html>404", "1 .jpg (a web page, HTML, saved under this"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1", "1 .png (a Git LFS pointer"),
        ("a.jpg.crdownload", None, "1 .crdownload (an unfinished download"),
        ("a.jpg.part", None, "1 .part (an unfinished download"),
        ("a.jpg~", None, "1 .jpg~ (a backup copy: dog/a.jpg~)"),
        ("a.pdf", b"%PDF-1.4", "1 .pdf (PDF"),
        ("a.mp4", b"\0\0\0\x20ftypisom", "1 .mp4 (a video"),
        ("more.zip", b"PK\3\4", "1 .zip (an archive inside: unpack it"),
        ("readme", b"hello", "1 without extension (no image: dog/readme)"),
        ("labels.csv", b"a,b", "1 .csv (no image"),
        (".hidden.jpg", None, "1 .jpg (hidden: dog/.hidden.jpg)"),
        (".old/1.jpg", None, "1 folder (hidden: dog/.old/)"),
    ],
)
def test_file_that_is_left_out_is_told_with_number_and_reason(tmp_path, name, data, reason):
    if "HEIC" in reason and "HEIF" in file_kinds.formats():
        pytest.skip("pillow-heif is installed: HEIC is read")
    data = encoded(pixels(5)) if data is None else data
    members = tree(*BASE) | {f"dog/{name}": data}
    for path in (
        folder(tmp_path / "a", members),
        zipped(tmp_path / "a.zip", members),
        tarred(tmp_path / "a.tar", members),
    ):
        said = told(path)
        assert said.startswith(f"{path}: 1 of 4 files was left out: {reason}")
        with pytest.warns(UserWarning, match="1 of 4"):
            assert read(path).labels.tolist() == [0, 0, 1]


def test_file_a_raw_photo_is_not_taken_for_its_thumbnail(tmp_path):
    raw = {f"dog/{i}{end}": encoded(pixels(i), "TIFF") for i, end in enumerate((".dng", ".CR2"))}
    path = folder(tmp_path, tree(*BASE) | raw)
    assert "1 .dng (a camera's raw file: convert it to JPEG: dog/0.dng), 1 .cr2" in told(path)
    with pytest.raises(FormatError, match=r"0\.dng: not an image .*raw"):
        read(path / "dog" / "0.dng", labelled=False)


def test_files_left_out_are_summed_by_reason_and_a_few_are_named(tmp_path):
    many = {f"cat/{i}.heif": b"x" for i in range(5)} | {"notes.txt": b"x", "dog/todo.txt": b"x"}
    if "HEIF" in file_kinds.formats():
        pytest.skip("pillow-heif is installed: HEIC is read")
    said = told(folder(tmp_path, tree(*BASE) | many))
    assert "7 of 10 files were left out: " in said
    assert "5 .heif (HEIC: " in said
    assert "cat/0.heif, cat/1.heif, cat/2.heif, ...)" in said
    assert re.search(r"2 \.txt \(no image: (notes\.txt, dog/todo\.txt)\)", said)


JUNK = (
    *("cat/0.png:Zone.Identifier", "cat/Thumbs.db:encryptable", "dog/_DS_Store"),
    *("Thumbs.db", "cat/desktop.ini", ".DS_Store", "cat/._0.png", "~$notes.doc", "Icon\r"),
    *("cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/cat/._0.png", ".git/x.png"),
    *(".ipynb_checkpoints/0-checkpoint.png", "$RECYCLE.BIN/0.png", "lost+found/0.png"),
    *("System Volume Information/IndexerVolumeGuid", ".thumbnails/0.png", "#recycle/0.png"),
    *(".Trash-1000/files/0.png", ".nfs0001", "__pycache__/x.pyc", "dog/.ipynb_checkpoints/a.png"),
)


def test_junk_of_file_managers_is_passed_over_without_a_word(tmp_path):
    members = tree(*BASE) | dict.fromkeys(JUNK, encoded(pixels(3)))
    for path in (
        folder(tmp_path / "a", members),
        zipped(tmp_path / "a.zip", members),
        tarred(tmp_path / "a.tar.gz", members, "w:gz"),
    ):
        assert read(path).labels.tolist() == [0, 0, 1]
        assert len(read(path, labelled=False)) == 3


def test_a_class_of_which_nothing_is_left_is_refused_not_renumbered(tmp_path):
    members = tree(*BASE) | {"bird/1.jpg": b"<html>", "bird/2.pdf": b"%PDF"}
    for path in (folder(tmp_path / "a", members), zipped(tmp_path / "a.zip", members)):
        with pytest.raises(FormatError, match=r"class folder bird .*no images"):
            read(path)


@pytest.mark.parametrize("data", [b"", b"\0\1\2", b"404 not found"])
def test_file_broken_is_refused_by_name(tmp_path, data):
    path = folder(tmp_path, tree(*BASE) | {"dog/1.jpg": data})
    with pytest.raises(FormatError, match=r"dog/1\.jpg: not an image") as caught:
        read(path)
    assert "0x" not in str(caught.value)  # no address in memory


def test_files_broken_are_all_named_at_once(tmp_path):
    path = folder(tmp_path, tree(*BASE) | {f"dog/b{i}.png": b"\0" * i for i in range(9)})
    with pytest.raises(FormatError, match=r"dog/b0\.png: not an image.* 8 more .*: dog"):
        read(path)


def test_folder_that_is_no_path_is_a_type_error():
    for given in (["a", "b"], 7, None, b"photos"):
        with pytest.raises(TypeError, match=r"path: .*str or a Path, got \w+"):
            read(given)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_sockets_and_broken_links_are_told_and_never_waited_for(tmp_path):
    path = folder(tmp_path / "a", tree(*BASE))
    os.mkfifo(path / "cat" / "pipe.jpg")
    os.mkfifo(path / "cat" / "pipe")
    os.symlink("nowhere", path / "dog" / "broken.png")
    os.symlink("self.png", path / "dog" / "self.png")
    os.symlink(os.devnull, path / "dog" / "device.png")
    here = Path.cwd()
    os.chdir(path / "dog")  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket.jpg")
        os.chdir(here)
        said = told(path)
    assert "6 of 9 files were left out" in said
    assert "1 without extension (a pipe, a socket or a device: cat/pipe)" in said
    assert "(a broken link: dog/broken.png" in said
    with pytest.raises(FormatError, match=r"a pipe.*wanted a folder"):
        read(path / "cat" / "pipe")


def test_links_between_classes_do_not_move_images_to_another_class(tmp_path):
    path = folder(tmp_path / "a", tree(*BASE))
    os.symlink("../dog", path / "cat" / "friend")
    os.symlink("..", path / "cat" / "up")
    with pytest.warns(UserWarning, match=r"1 folder \(a link .*already: cat"):
        assert read(path).labels.tolist() == [0, 0, 1]


def test_folder_that_cannot_be_listed_is_an_error_not_a_smaller_set(tmp_path, monkeypatch):
    path = folder(tmp_path, tree(*BASE))
    real = os.scandir

    def refuse(place):
        if str(place).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="dog"):
        read(path)


def test_names_that_are_not_utf8_are_read_and_can_be_printed(tmp_path):
    path = folder(tmp_path, tree(*BASE))
    try:
        for name in (b"caf\xe9.png", b"caf\xe9.pdf"):
            Path(os.fsdecode(os.fsencode(path) + b"/cat/" + name)).write_bytes(encoded(pixels(9)))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    os.rename(os.fsencode(path) + b"/cat/caf\xe9.pdf", os.fsencode(path) + b"/cat/caf\xe9.heic~")
    said = told(path)
    assert r"(a backup copy: cat/caf\xe9.heic~)" in said
    said.encode("utf-8")
    with pytest.warns(UserWarning, match="1 of 5"):
        found = read(path)
    assert found.labels.tolist() == [0, 0, 0, 1]
    assert np.array_equal(found.array[2], pixels(9))


def test_folders_below_a_class_belong_to_it_however_deep(tmp_path):
    deep = "cat/" + "/".join(["x" * 40] * 30)
    path = folder(tmp_path, tree(*BASE, f"{deep}/9.png", "cat/summer/1.png"))
    assert read(path).labels.tolist() == [0, 0, 0, 0, 1]
