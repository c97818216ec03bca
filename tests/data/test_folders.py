"""Class folders and archives of them: layouts, image modes, sizes, damage."""

from __future__ import annotations

import builtins
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pyedge.data import ImageSet, load_cifar10, load_dataset, load_folder
from pyedge.errors import FormatError
from pyedge.images import sources
from pyedge.images.decode import decode, decode_all
from pyedge.images.sources import Entry, walk
from tests.support.folder_trees import folder, tarred


def pixels(seed: int, h: int = 6, w: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(out, kind, **options)
    return out.getvalue()


def tree(names: list[str]) -> dict[str, bytes]:
    return {name: encoded(pixels(i)) for i, name in enumerate(names)}


PLAIN = [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(10)]
SPLIT = [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in ("cat", "dog") for i in range(10)]


def test_folder_reads_pixels_labels_and_names(tmp_path):
    found = load_folder(folder(tmp_path, tree(["dog/b.png", "cat/a.png", "dog/a.PNG"])))
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 1, 1]
    expected = [pixels(1), pixels(2), pixels(0)]  # by class, then by name
    assert np.array_equal(found.images.permute(0, 2, 3, 1).numpy(), np.stack(expected))


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz"), ("tbz", "w:bz2")]
)
@pytest.mark.parametrize("prefix", ["", "data/", "./", "a/b/"])
def test_folder_and_archive_read_the_same(tmp_path, suffix, mode, prefix):
    members = {prefix + name: data for name, data in tree(PLAIN).items()}
    a = load_folder(folder(tmp_path / "here", members))
    b = load_folder(tarred(tmp_path / f"images.{suffix}", members, mode))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)
    assert a.classes == b.classes == ("cat", "dog")
    assert a.counts == (10, 10)


def test_folder_single_class_is_not_taken_for_a_wrapper(tmp_path):
    assert load_folder(folder(tmp_path, tree(["mug/1.png", "mug/2.png"]))).classes == ("mug",)


def test_folder_hidden_and_foreign_files_are_left_out(tmp_path):
    extra = {".DS_Store": b"x", "cat/._1.png": b"x", "__MACOSX/cat/1.png": b"x"}
    assert load_folder(folder(tmp_path, tree(PLAIN) | extra)).counts == (10, 10)
    extra |= {"readme.txt": b"x"}
    with pytest.warns(UserWarning, match=r"1 of 21 files .*: 1 \.txt \(no image: readme"):
        assert len(load_folder(tarred(tmp_path / "a.tar", tree(PLAIN) | extra))) == 20


def test_folder_links_to_class_folders_are_followed_and_loops_end(tmp_path):
    folder(tmp_path / "elsewhere", tree(["1.png", "2.png"]))
    folder(tmp_path / "set", tree(["dog/1.png"]))
    os.symlink(tmp_path / "elsewhere", tmp_path / "set" / "cat")
    os.symlink(tmp_path / "set", tmp_path / "set" / "dog" / "loop")
    assert load_folder(tmp_path / "set").counts == (2, 1)


def test_folder_archive_names_that_climb_stay_names(tmp_path):
    members = tree(["x/../../../evil/cat/1.png", "x/../../../evil/dog/1.png"])
    before = sorted(tmp_path.rglob("*"))
    path = tarred(tmp_path / "a.tar", members)
    assert load_folder(path).classes == ("cat", "dog")
    assert sorted(tmp_path.rglob("*")) == [*before, path]


def test_dataset_official_splits_stay_and_val_comes_out_of_train(tmp_path):
    train, val, test = load_dataset(folder(tmp_path, tree(SPLIT)), val_fraction=0.2)
    assert (train.counts, val.counts, test.counts) == ((8, 8), (2, 2), (10, 10))
    assert torch.equal(test.images, load_folder(tmp_path / "test").images)


def test_dataset_val_folder_is_used(tmp_path):
    names = [*SPLIT, "valid/cat/1.png", "valid/dog/1.png", "valid/dog/2.png"]
    train, val, test = load_dataset(folder(tmp_path, tree(names)))
    assert (train.counts, val.counts, test.counts) == ((10, 10), (1, 2), (10, 10))


def test_dataset_split_names_take_any_case_and_long_forms(tmp_path):
    names = [n.replace("train", "Training").replace("test", "TEST") for n in SPLIT]
    parts = load_dataset(folder(tmp_path, tree([*names, "Validation/cat/1.png"])))
    assert [p.counts for p in parts] == [(10, 10), (1, 0), (10, 10)]


def test_folder_class_called_test_is_a_class(tmp_path):
    path = folder(tmp_path, tree(["exam/1.png", "test/1.png"]))
    assert load_folder(path).classes == ("exam", "test")


def test_dataset_val_without_test_is_held_out(tmp_path):
    names = [name.replace("test/", "val/") for name in SPLIT]
    train, val, test = load_dataset(folder(tmp_path, tree(names)))
    assert (train.counts, val.counts, test.counts) == ((9, 9), (1, 1), (10, 10))
    assert torch.equal(test.images, load_folder(tmp_path / "val").images)


def test_dataset_plain_class_folders_are_split_in_three(tmp_path):
    path = folder(tmp_path, tree(PLAIN))
    parts = load_dataset(path, val_fraction=0.25, test_fraction=0.2, seed=1)
    assert [p.counts for p in parts] == [(6, 6), (2, 2), (2, 2)]
    rows = [bytes(i) for p in parts for i in p.images.numpy()]
    assert sorted(rows) == sorted(bytes(i) for i in load_folder(path).images.numpy())
    again = load_dataset(path, val_fraction=0.25, test_fraction=0.2, seed=1)
    assert all(torch.equal(a.images, b.images) for a, b in zip(parts, again, strict=True))


def test_dataset_cifar_as_folders(tmp_path):
    names = [
        f"cifar10/{s}/c{c}/{i}.png" for s in ("train", "test") for c in range(10) for i in "ab"
    ]
    path = tarred(tmp_path / "c.tar.xz", tree(names), "w:xz")
    train, test = load_cifar10(path)
    assert train.counts == test.counts == (2,) * 10
    nine = tarred(tmp_path / "n.tar", tree([n for n in names if "/c9/" not in n]))
    with pytest.raises(FormatError, match="ten class folders"):
        load_cifar10(nine)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cat/1.png", "2.png"], "2.png .*not in a class folder"),
        (["train/1.png", "test/cat/1.png"], "train/1.png .*not in a class folder"),
        (["train/cat/1.png", "test/dog/1.png"], "test .*train lacks: dog"),
        (["train/cat/1.png", "test/cat/1.png", "extra/cat/1.png"], "extra beside train/"),
        (["train/cat/1.png"], "train only; .*train/ and test/"),
    ],
)
def test_dataset_wrong_layout_is_explained(tmp_path, names, words):
    with pytest.raises(FormatError, match=words):
        load_dataset(folder(tmp_path / "a", tree(names)))
    with pytest.raises(FormatError, match=words):
        load_dataset(tarred(tmp_path / "a.tar", tree(names)))


def test_dataset_without_images_says_what_is_there_instead(tmp_path):
    with pytest.raises(FormatError, match=r"no images .*: 1 \.txt \(no image: notes\.txt"):
        load_dataset(folder(tmp_path, {"notes.txt": b"x"}))


def test_folder_of_splits_is_refused_by_load_folder(tmp_path):
    with pytest.raises(FormatError, match="holds splits"):
        load_folder(folder(tmp_path, tree(SPLIT)))


@pytest.mark.parametrize("empty", ["mug", "train/mug", "test/dog"])
def test_folder_empty_class_is_named(tmp_path, empty):
    members = tree(PLAIN if empty == "mug" else [n for n in SPLIT if not n.startswith("test/dog")])
    folder(tmp_path / "a", members)
    (tmp_path / "a" / empty).mkdir()
    with pytest.raises(FormatError, match=f"class folder {empty} .*no images"):
        load_dataset(tmp_path / "a")
    path = tarred(tmp_path / "a.tar", members)
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(empty)
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    with pytest.raises(FormatError, match=f"class folder {empty} .*no images"):
        load_dataset(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("cut", [0, 10, -200])
def test_folder_broken_image_is_named(tmp_path, kind, cut):
    broken = encoded(pixels(0, 64, 64), kind)[:cut]
    path = folder(tmp_path, tree(PLAIN) | {"cat/broken.jpg": broken})
    with pytest.raises(FormatError, match=r"cat/broken\.jpg: not an image"):
        load_folder(path)


def test_folder_images_of_different_sizes_ask_for_size(tmp_path):
    members = {"cat/1.png": encoded(pixels(0, 20, 30)), "dog/1.png": encoded(pixels(1, 40, 16))}
    path = folder(tmp_path, members)
    with pytest.raises(ValueError, match=r"cat/1\.png .*30x20, dog/1\.png .*16x40.*size="):
        load_folder(path)
    assert load_folder(path, size=8).images.shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="size: wanted a positive"):
        load_folder(path, size=0)


@pytest.mark.parametrize(("h", "w"), [(40, 80), (80, 40), (40, 40)])
def test_decode_size_keeps_the_centre_square(h, w):
    image = np.zeros((h, w, 3), np.uint8)
    image[(h - 40) // 2 :, (w - 40) // 2 :][:40, :40] = 200
    out = decode("a.png", encoded(image), size=10)
    assert out.shape == (10, 10, 3)
    assert (out[1:-1, 1:-1] == 200).all()  # the filter's support reaches no further than a pixel


def test_decode_large_jpeg_matches_the_full_decode():
    rows, columns = np.mgrid[0:400, 0:400]
    image = np.stack([rows * 255 // 400, columns * 255 // 400, 0 * rows], -1).astype(np.uint8)
    data = encoded(image, "JPEG", quality=95)
    png = encoded(Image.open(io.BytesIO(data)))
    fast, full = (decode("a", d, size=32).astype(int) for d in (data, png))
    # the JPEG is decoded at a quarter of its size first
    assert np.abs(fast - full).max() <= 4


def test_decode_modes_become_rgb():
    grey = np.arange(36, dtype=np.uint8).reshape(6, 6)
    three = np.repeat(grey[..., None], 3, axis=2)
    sixteen = Image.fromarray(grey.astype(np.uint16) * 256)
    palette = Image.fromarray(grey).convert("P")
    for image in (Image.fromarray(grey), sixteen, palette):
        assert np.array_equal(decode("a.png", encoded(image)), three)
    one = Image.fromarray(grey > 17)
    assert np.array_equal(decode("a.png", encoded(one)), (three > 17) * np.uint8(255))
    cmyk = Image.fromarray(pixels(0)).convert("CMYK")
    assert decode("a.tif", encoded(cmyk, "TIFF")).shape == (6, 6, 3)
    with pytest.raises(FormatError, match="mode F"):
        decode("a.tif", encoded(Image.fromarray(grey.astype(np.float32)), "TIFF"))


def test_decode_transparency_lies_on_white():
    rgba = np.dstack([pixels(0), np.full((6, 6), 255, np.uint8)])
    rgba[:3, :, 3] = 0
    out = decode("a.png", encoded(Image.fromarray(rgba)))
    assert (out[:3] == 255).all()
    assert np.array_equal(out[3:], pixels(0)[3:])
    palette = Image.fromarray(pixels(0)).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    hidden = np.asarray(palette) == 0
    out = decode("a.png", encoded(palette, transparency=0))
    assert (out[hidden] == 255).all()
    assert hidden.any()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP"])
def test_decode_reads_the_usual_formats_whatever_the_suffix(kind):
    assert decode("a.jpg", encoded(pixels(0), kind)).shape == (6, 6, 3)


def test_decode_refuses_formats_that_run_programs():
    with pytest.raises(FormatError, match=r"photo\.jpg"):
        decode("photo.jpg", encoded(pixels(0), "EPS"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_applies_the_cameras_orientation(orientation):
    from PIL import ImageOps

    picture = Image.fromarray(pixels(0, 16, 24))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture, "JPEG", exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(decode("a.jpg", data), expected)


def test_decode_all_keeps_the_order_and_ends_its_threads_on_error():
    data = {f"{i}.png": encoded(pixels(i)) for i in range(300)}
    entries = [Entry(name, lambda d=d: d) for name, d in data.items()]
    out = list(decode_all(entries, threads=3))
    assert [name for name, _ in out] == list(data)
    assert all(np.array_equal(image, pixels(i)) for i, (_, image) in enumerate(out))
    entries[200] = Entry("200.png", lambda: b"no image")
    with pytest.raises(FormatError, match=r"200\.png"):
        list(decode_all(entries, threads=3))


def test_folder_without_pillow_names_the_install_line(tmp_path, monkeypatch):
    path = folder(tmp_path, tree(PLAIN))
    real = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(ImportError, match=r"pip install \"pyedge\[images\]\""):
        load_folder(path)


def test_archive_member_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", 1000)
    path = tarred(tmp_path / "a.tar", {"cat/1.png": bytes(1001)})
    with pytest.raises(FormatError, match=r"cat/1\.png claims 1001 bytes"):
        load_folder(path)


def test_archive_header_that_claims_too_much_is_refused(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(FormatError, match=r"a\.tar: .*claims"):
        load_folder(path)


def test_archive_links_are_refused(tmp_path):
    path = tarred(tmp_path / "a.tar", tree(PLAIN))
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("cat/link.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(info)
    with pytest.raises(FormatError, match=r"cat/link\.png is a link"):
        load_folder(path)


def test_archive_that_is_none_is_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"hello" * 1000)
    with pytest.raises(FormatError, match=r"a\.tar\.gz: not a tar archive"):
        load_folder(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(walk(tmp_path / "nowhere", lambda _: True))


def loaded_or_refused(path: Path) -> ImageSet | FormatError:
    try:
        return load_folder(path)
    except FormatError as error:
        return error


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_archive_damaged_is_a_format_error_or_reads_the_same(tmp_path, data):
    kind = data.draw(st.sampled_from(["gz", "xz", "bz2", ""]))
    path = tmp_path / f"whole{kind}"
    if not path.exists():
        tarred(path, tree(["cat/1.png", "dog/1.png"]), f"w:{kind}")
    whole = load_folder(path)
    damaged = bytearray(path.read_bytes())
    # A bare tar has a checksum on its headers alone: there, only truncation is sure to be seen.
    if not kind or data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(damaged) - 1))]
    else:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    broken = tmp_path / "broken"
    broken.write_bytes(damaged)
    found = loaded_or_refused(broken)
    if isinstance(found, FormatError):
        assert str(broken) in str(found)
    else:
        assert torch.equal(found.images, whole.images)
        assert found.classes == whole.classes
