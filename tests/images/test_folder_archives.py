"""Archives and other things that people give where a folder is expected."""

from __future__ import annotations

import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyedge.errors import FormatError
from pyedge.images.edge_images import EdgeImages
from tests.support.folder_trees import encoded, folder, pixels, tarred, tree, zipped

pytest.importorskip("PIL.Image")

NAMES = ("b/10.png", "b/9.png", "a b/1.png", "a/2.png", "a/10.png")


def read(path: Path, **options):
    return EdgeImages.from_folder(path, (3, 6, 6), **options)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("wrapper", ["", "photos/", "./", "x/y/"])
def test_archive_of_a_tree_gives_the_images_and_order_of_the_folder(tmp_path, labelled, wrapper):
    members = {wrapper + name: data for name, data in tree(*NAMES).items()}
    whole = read(folder(tmp_path / "a", members), labelled=labelled)
    backwards = dict(reversed(members.items()))
    for path in (
        zipped(tmp_path / "a.zip", backwards),
        tarred(tmp_path / "a.tar", backwards),
        tarred(tmp_path / "a.tgz", backwards, "w:gz"),
        tarred(tmp_path / "a.tar.bz2", backwards, "w:bz2"),
        tarred(tmp_path / "photos", backwards, "w:xz"),  # by its bytes, not by its name
    ):
        found = read(path, labelled=labelled)
        assert np.array_equal(found.array, whole.array)
        assert found.class_names == whole.class_names
        if labelled:
            assert found.class_names == ("a", "a b", "b")
            assert found.labels.tolist() == whole.labels.tolist() == [0, 0, 1, 2, 2]


def test_tar_of_the_current_folder_has_no_class_called_dot(tmp_path):
    path = folder(tmp_path / "a", tree(*NAMES))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(path, ".")
    assert read(tmp_path / "a.tar").class_names == ("a", "a b", "b")


def test_zip_names_that_climb_stay_names(tmp_path):
    path = zipped(tmp_path / "a.zip", tree("../../evil/cat/1.png", "../../evil/dog/1.png"))
    assert read(path).class_names == ("cat", "dog")
    path = zipped(tmp_path / "b.zip", tree("/etc/cat/1.png", "/etc/dog/1.png"))
    assert read(path).class_names == ("cat", "dog")
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a.zip", path]


def test_zip_by_old_windows_programs_has_folders(tmp_path):
    path = zipped(tmp_path / "a.zip", tree("set\\cat\\1.png", "set\\dog\\1.png"))
    assert read(path).class_names == ("cat", "dog")


def without_flag(data: bytes) -> bytes:
    """Clear the flag of UTF-8 names, as macOS leaves it."""
    changed = bytearray(data)
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = -1
        while (place := changed.find(magic, place + 1)) >= 0:
            changed[place + at : place + at + 2] = b"\0\0"
    return bytes(changed)


def test_zip_names_in_utf8_that_do_not_say_so_are_read_as_meant(tmp_path):
    path = zipped(tmp_path / "a.zip", tree("Käse/1.png", "Öl/1.png"))
    path.write_bytes(without_flag(path.read_bytes()))
    assert read(path).class_names == ("Käse", "Öl")


def test_zip_that_is_encrypted_says_so(tmp_path):
    path = zipped(tmp_path / "a.zip", tree("cat/1.png"))
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"a\.zip: cat/1\.png is encrypted"):
        read(path)


def test_zip_member_that_claims_too_much_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.png", bytes((1 << 28) + 1))
    with pytest.raises(FormatError, match=r"cat/1\.png claims 268435457 bytes"):
        read(tmp_path / "a.zip")


def test_zip_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("cat/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/hostname")
    with pytest.raises(FormatError, match=r"cat/1\.png is a link"):
        read(tmp_path / "a.zip")


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_zip_damaged_is_a_format_error_or_reads_the_same(tmp_path, data):
    path = tmp_path / "whole.zip"
    if not path.exists():
        zipped(path, tree("cat/1.png", "dog/1.png"))
    whole = read(path)
    damaged = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(damaged) - 1))]
    else:  # the bytes of the images: names and attributes have no checksum
        start = damaged.index(b"\x89PNG")
        at = data.draw(st.integers(start, start + 100))
        damaged[at] ^= data.draw(st.integers(1, 255))
    broken = tmp_path / "broken.zip"
    broken.write_bytes(damaged)
    try:
        found = read(broken)
    except FormatError as error:
        assert str(broken) in str(error)  # noqa: PT017
    else:
        assert np.array_equal(found.array, whole.array)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "a 7z archive, .*not read"),
        ("a.rar", b"Rar!\x1a\x07\1", "a RAR archive, .*not read"),
        ("a.tar.zst", b"\x28\xb5\x2f\xfd", r"a Zstandard \(\.zst\) archive, .*not read"),
        ("a.txt", b"1.png\n2.png", "a .txt file; .*folder.* list of .*paths"),
        ("a.csv", b"1.png,cat", "a .csv file; .*folder"),
        ("a.pdf", b"%PDF", "not an image .*: PDF"),
        ("a.jpg", b"<html>", "not an image .*: a web page"),
        ("a.bin", b"blah" * 200, "neither an image nor an archive"),
        ("a.zip", b"hello", "not a tar archive"),
        ("a.zip", b"PK\3\4 and no more", "not a zip archive"),
        ("a.png", b"", "not an image.*empty"),
    ],
)
def test_path_of_something_else_is_refused_with_a_word_for_it(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=words) as caught:
        read(tmp_path / name, labelled=False)
    assert name in str(caught.value)


def test_path_of_nothing_says_what_may_have_been_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for given_path, error, words in (
        ("photoz", FileNotFoundError, r"photoz: .* \(did you mean photos\?\)"),
        ("photos/*.jpg", FileNotFoundError, "glob.glob"),
        ("~/photos", FileNotFoundError, "expanduser"),
        ("http://host/photos.zip", ValueError, "got the address .*; download it first"),
        ("s3://bucket/photos", ValueError, "got the address"),
        ("", ValueError, "got an empty text"),
        ("photos", FormatError, "photos: no images"),
    ):
        with pytest.raises(error, match=words):
            read(given_path)


def test_path_of_one_photo_is_one_image_without_a_label(tmp_path):
    (tmp_path / "1.png").write_bytes(encoded(pixels(4)))
    found = read(tmp_path / "1.png", labelled=None)
    assert np.array_equal(found.array[0], pixels(4))
    assert found.labels is None
    with pytest.raises(FormatError, match=r"1\.png: one image .*label"):
        read(tmp_path / "1.png")


def test_path_of_cifar10_on_a_device_says_who_reads_it(tmp_path):
    record = struct.pack("B", 3) + bytes(3072)
    members = {f"cifar-10-batches-bin/data_batch_{i}.bin": record for i in range(1, 6)}
    with pytest.raises(FormatError, match=r"5 \.bin \(.*CIFAR-10: pyedge\.data\.load_cif"):
        read(tarred(tmp_path / "cifar-10-binary.tar.gz", members, "w:gz"))


def test_archive_with_two_files_of_one_name_says_that_one_is_left_out(tmp_path):
    one, two = tree("a/1.png", "b/1.png").values()
    zipped(tmp_path / "a.zip", {"a/1.png": one, "b/1.png": one, "./a/1.png": two})
    told = r"1 of 3 files was left out: 1 .png \(replaced by a later file of the same name: a/1"
    with pytest.warns(UserWarning, match=told):
        found = read(tmp_path / "a.zip")
    assert len(found) == 2
    assert np.array_equal(
        found.array[0], read(zipped(tmp_path / "b.zip", {"a/1.png": two})).array[0]
    )
