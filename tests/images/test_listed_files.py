"""Folders whose files are listed first, and read where they are asked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import pyedge
from pyedge.images.folder import read_folder
from pyedge.images.listed_files import listed_folder, listed_part, listed_subset
from pyedge.images.parts import read_part
from pyedge.images.resize import Resize

image = pytest.importorskip("PIL.Image")
SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 15 photos of many sizes, and what is no image: a text, and a web page."""
    folder = tmp_path_factory.mktemp("listed")
    random = np.random.default_rng(0)
    for name in ("cup", "mug"):
        (folder / name).mkdir()
        for i in range(15):
            photo = random.integers(0, 256, (8 + i % 4, 9, 3), dtype=np.uint8)
            image.fromarray(photo).save(folder / name / f"{i:02}.png")
    (folder / "cup" / "page.jpg").write_bytes(b"<html><body>not found</body></html>")
    (folder / "notes.txt").write_text("red mugs")
    return folder


@pytest.mark.parametrize("labelled", [True, False, None])
@pytest.mark.parametrize("shape", [SHAPE, (1, 8, 8)])
def test_listed_folder_has_the_rows_of_one_that_is_read(
    folder: Path, labelled: bool | None, shape: tuple[int, int, int]
) -> None:
    with pytest.warns(UserWarning, match="2 of 32 files were left out") as told:
        read = read_folder(folder, shape, labelled=labelled)
    with pytest.warns(UserWarning, match="2 of 32 files were left out") as told_again:
        found = listed_folder(folder, shape, labelled=labelled)
    assert str(told[0].message) == str(told_again[0].message)
    assert len(found) == 30
    assert found.shape == shape
    assert np.array_equal(found.array[:], read.array)
    assert (found.labels is None) == (read.labels is None) == (labelled is False)
    assert read.labels is None or np.array_equal(found.labels, read.labels)
    assert found.class_names == read.class_names


def test_rows_are_read_in_the_order_of_asking(folder: Path) -> None:
    with pytest.warns(UserWarning, match="left out"):
        found = listed_folder(folder, SHAPE, resize=Resize(8, 9))
    sent = pickle.loads(pickle.dumps(found.array))  # as a worker gets it
    whole = sent[:]
    for rows in (np.array([7, 0, 7, 29]), slice(3, 6), np.arange(30) % 2 == 0, 5):
        assert np.array_equal(sent[rows], whole[rows])
    assert sent[3:3].shape == (0, 8, 8, 3)
    assert sent.nbytes == whole.nbytes
    some = listed_subset(found, np.array([20, 1]))
    assert np.array_equal(some.array[:], whole[[20, 1]])
    assert some.labels.tolist() == [1, 0]


@pytest.mark.parametrize("part", ["train", "val", "test", "all"])
def test_listed_part_is_the_part_that_training_took(folder: Path, part: str) -> None:
    with pytest.warns(UserWarning, match="left out"):
        read = read_part(folder, SHAPE, part, seed=3)
    with pytest.warns(UserWarning, match="left out"):
        found = listed_part(folder, SHAPE, part, seed=3)
    assert np.array_equal(found.array[:], read.array)
    assert np.array_equal(found.labels, read.labels)
    assert found.class_names == read.class_names


def test_broken_or_missing_file_is_named_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(tmp_path / "in" / f"{i}.png")
    whole = (tmp_path / "in" / "1.png").read_bytes()
    (tmp_path / "in" / "1.png").write_bytes(whole[: len(whole) // 2])
    found = listed_folder(tmp_path / "in", SHAPE, labelled=False).array
    assert found[[0, 2]].mean() == 1
    with pytest.raises(pyedge.FormatError, match=r"in/1\.png: not an image, or a broken one"):
        found[1]
    (tmp_path / "in" / "1.png").write_bytes(b"<html><body>not found</body></html>")
    with pytest.raises(pyedge.FormatError, match=r"no images any more: .*1\.png"):
        found[:]
    (tmp_path / "in" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.png"):
        found[2]


def test_archive_is_read_at_once_and_an_empty_folder_is_refused(tmp_path: Path) -> None:
    import zipfile

    image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "x/a.png")
    found = listed_folder(tmp_path / "a.zip", SHAPE)
    assert isinstance(found.array, np.ndarray)
    assert found.class_names == ("x",)
    (tmp_path / "none").mkdir()
    with pytest.raises(pyedge.FormatError, match="none: no images"):
        listed_folder(tmp_path / "none", SHAPE)
    (tmp_path / "none" / "x.png").write_bytes(b"<html><body>not found</body></html>")
    with pytest.raises(pyedge.FormatError, match=r"none: no images .*left out: 1"):
        listed_folder(tmp_path / "none", SHAPE, labelled=False)
