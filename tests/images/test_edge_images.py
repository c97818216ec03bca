"""Images on the device: layouts, labels, folders, iterables, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyedge.data import load_folder
from pyedge.errors import FormatError
from pyedge.images.digests import image_digests
from pyedge.images.edge_images import EdgeImages

Image = pytest.importorskip("PIL.Image")

SHAPE = (3, 6, 5)


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def photos(folder: Path, names: list[str], sides: tuple[int, int] = (9, 7)) -> Path:
    for i, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(sides[0] + i % 3, sides[1], 3, seed=i)).save(file)
    return folder


def test_array_of_either_layout_is_recognised_and_not_copied():
    planar, interleaved = pixels(4, 3, 6, 5), pixels(4, 6, 5, 3)
    first, last = (EdgeImages.of(array, SHAPE) for array in (planar, interleaved))
    assert (first.channels_last, last.channels_last) == (False, True)
    assert np.shares_memory(first.array, planar)
    assert np.shares_memory(last.array, interleaved)
    assert first.shape == last.shape == SHAPE
    assert np.array_equal(last.planar(slice(None)), interleaved.transpose(0, 3, 1, 2))


def test_array_seen_in_the_other_layout_is_taken_as_it_lies():
    interleaved = pixels(4, 6, 5, 3)
    found = EdgeImages.of(interleaved.transpose(0, 3, 1, 2), SHAPE)
    assert found.channels_last
    assert np.shares_memory(found.array, interleaved)
    assert found.array.flags.c_contiguous


def test_array_with_gaps_is_copied():
    every = pixels(8, 3, 6, 5)
    found = EdgeImages.of(every[::2], SHAPE)
    assert found.array.flags.c_contiguous
    assert np.array_equal(found.array, every[::2])


def test_array_mapped_from_a_file_stays_mapped(tmp_path):
    np.save(tmp_path / "images.npy", pixels(4, 3, 6, 5))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert isinstance(EdgeImages.of(mapped, SHAPE).array, np.memmap)


def test_array_of_grey_images_may_lack_the_channel():
    grey = pixels(4, 6, 5)
    found = EdgeImages.of(grey, (1, 6, 5))
    assert found.shape == (1, 6, 5)
    assert np.array_equal(found.planar(slice(None))[:, 0], grey)
    assert EdgeImages.of(grey[..., None], (1, 6, 5)).shape == (1, 6, 5)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (pixels(4, 3, 5, 6), r"wanted \[n, 3, 6, 5\] or \[n, 6, 5, 3\] .*got \[4, 3, 5, 6\]"),
        (pixels(4, 6, 5), r"got \[4, 6, 5\]"),
        (pixels(3, 6, 5), r"a single image is image\[None\]"),
    ],
)
def test_array_of_another_shape_is_refused(array, words):
    with pytest.raises(ValueError, match=words):
        EdgeImages.of(array, SHAPE)


def test_array_that_could_be_either_layout_must_say_which():
    cubes = pixels(2, 3, 3, 3)
    with pytest.raises(ValueError, match="pass channels_last=True or False"):
        EdgeImages.of(cubes, (3, 3, 3))
    for last in (False, True):
        assert EdgeImages.of(cubes, (3, 3, 3), channels_last=last).channels_last is last


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.int8, bool])
def test_array_of_another_dtype_is_refused(dtype):
    with pytest.raises(TypeError, match=rf"uint8 pixels, or float32 .*got {np.dtype(dtype)}"):
        EdgeImages.of(np.zeros((2, *SHAPE), dtype), SHAPE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_float_images_with_a_number_that_is_none_are_refused(bad):
    images = np.zeros((5, *SHAPE), np.float32)
    EdgeImages.of(images, SHAPE)
    images[3, 2, 1, 0] = bad
    with pytest.raises(ValueError, match=r"image 3 .*NaN"):
        EdgeImages.of(images, SHAPE)


@pytest.mark.parametrize(
    ("labels", "kind", "words"),
    [
        ([0, 1], ValueError, r"wanted shape \(3,\)"),
        ([0, -1, 1], ValueError, "wanted ids from 0, got -1"),
        ([0.0, 0.5, 2.0], TypeError, "whole numbers or names, got 0.5 at 1"),
        ([True, False, True], TypeError, "got bool"),
        (np.array([1, 2, 2**63], np.uint64), ValueError, "wanted class ids"),
    ],
)
def test_labels_that_are_none_are_refused(labels, kind, words):
    with pytest.raises(kind, match=words):
        EdgeImages.of(pixels(3, *SHAPE), SHAPE, labels)


def test_labels_out_of_range_are_refused_by_the_students_classes():
    found = EdgeImages.of(pixels(3, *SHAPE), SHAPE, [0, 2, 1])
    assert found.with_classes(["a", "b", "c"]).class_names == ("a", "b", "c")
    with pytest.raises(ValueError, match=r"wanted ids in 0\.\.1, .*2 classes, got 2"):
        found.with_classes(["a", "b"])


def test_labels_may_be_names_and_get_the_students_ids():
    found = EdgeImages.of(pixels(3, *SHAPE), SHAPE, ["mug", "cat", "mug"])
    assert found.with_classes(["cat", "dog", "mug"]).labels.tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match=r"no class mug; .*cat, dog"):
        found.with_classes(["cat", "dog"])


@pytest.mark.parametrize("side", [6, 16])
def test_folder_gives_the_pixels_and_labels_of_the_cloud_side(tmp_path, side):
    names = [f"{c}/{i}.png" for c in ("dog", "cat 2", "cat 10") for i in range(3)]
    path = photos(tmp_path, [*names, "dog/below/again.png"])
    mine, theirs = EdgeImages.of(path, (3, side, side)), load_folder(path, size=side)
    assert mine.class_names == theirs.classes == ("cat 10", "cat 2", "dog")
    assert np.array_equal(mine.labels, theirs.labels.numpy())
    assert np.array_equal(mine.planar(slice(None)), theirs.images.numpy())


def test_folder_for_a_grey_student_gives_pillows_brightness(tmp_path):
    path = photos(tmp_path, ["a/1.png", "a/2.png"], sides=(6, 6))
    found = EdgeImages.of(path, (1, 6, 6))
    second = Image.open(path / "a" / "2.png").resize((6, 6), 2, box=(0, 0.5, 6, 6.5))
    first = np.asarray(Image.open(path / "a" / "1.png").convert("L"))
    assert np.array_equal(found.array[0, ..., 0], first)
    assert np.array_equal(found.array[1, ..., 0], np.asarray(second.convert("L")))


def test_folder_for_a_student_that_is_not_square_must_fit(tmp_path):
    path = photos(tmp_path / "fits", ["a/1.png"], sides=(6, 5))
    assert EdgeImages.of(path, SHAPE).shape == SHAPE
    photos(path, ["a/2.png"], sides=(7, 5))
    with pytest.raises(ValueError, match=r"a/2\.png .*5x7, .*student .*5x6"):
        EdgeImages.of(path, SHAPE)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.9])
def test_folder_with_a_truncated_image_names_the_file(tmp_path, part):
    path = photos(tmp_path, ["cat/good.png", "cat/broken.png"])
    data = (path / "cat" / "broken.png").read_bytes()
    (path / "cat" / "broken.png").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(FormatError, match=r"cat/broken\.png: not an image"):
        EdgeImages.of(path, (3, 6, 6))


def test_folder_without_labels_takes_images_wherever_they_lie(tmp_path):
    path = photos(tmp_path, ["loose.png", "deep/er/one.png"])
    found = EdgeImages.from_folder(path, (3, 6, 6), labelled=False)
    assert len(found) == 2
    assert found.labels is None
    with pytest.raises(FormatError, match=r"loose\.png .*not in a class folder"):
        EdgeImages.of(path, (3, 6, 6))


def test_folder_of_splits_and_folder_without_images_are_refused(tmp_path):
    path = photos(tmp_path / "a", ["train/cat/1.png", "test/cat/1.png"])
    with pytest.raises(FormatError, match="holds train/ or test/"):
        EdgeImages.of(path, (3, 6, 6))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no images"):
        EdgeImages.of(tmp_path / "empty", (3, 6, 6))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        EdgeImages.of(tmp_path / "nowhere", (3, 6, 6))


def test_folder_keeps_the_classes_that_are_asked_for(tmp_path):
    path = photos(tmp_path, ["cat/1.png", "dog/1.png", "mug/1.png", "mug/2.png"])
    found = EdgeImages.of(path, (3, 6, 6))
    mugs = found.only_classes(["mug"])
    assert np.array_equal(mugs.array, found.array[2:])
    assert mugs.with_classes(["mug", "dog", "cat"]).labels.tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"no class .*'cup'; .*cat, dog, mug"):
        found.only_classes(["cup"])


def test_iterable_of_single_images_batches_and_tensors_is_put_together():
    every = pixels(6, *SHAPE)
    items = [
        (every[0], 0),
        (every[1].transpose(1, 2, 0), np.int64(1)),
        (every[2:4], [2, 0]),
        (torch.from_numpy(every[4:]), torch.tensor([1, 2])),
    ]
    found = EdgeImages.of(iter(items), SHAPE)
    assert np.array_equal(found.planar(slice(None)), every)
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]
    alone = EdgeImages.of([every[0], every[1:]], SHAPE)
    assert np.array_equal(alone.array, every)
    assert alone.labels is None


@pytest.mark.parametrize(
    ("items", "kind", "words"),
    [
        ([], ValueError, "wanted at least one, got none"),
        ([(pixels(*SHAPE), 0), (pixels(*SHAPE), None)], ValueError, "1 of 2 items have labels"),
        ([(pixels(2, *SHAPE), [0])], ValueError, "item 0 .*2 images and 1 labels"),
        ([pixels(*SHAPE), np.zeros(SHAPE, np.float32)], TypeError, "some are|some items"),
        ([pixels(2, 2)], ValueError, "wanted "),
        (7, TypeError, "an array, a folder or an iterable"),
    ],
)
def test_iterable_that_does_not_fit_is_refused(items, kind, words):
    with pytest.raises(kind, match=words):
        EdgeImages.of(items, SHAPE)


def test_images_that_are_taken_already_keep_all_and_are_checked_for_the_student():
    found = EdgeImages.of(pixels(2, *SHAPE), SHAPE, [1, 0])
    assert EdgeImages.of(found, SHAPE) is found
    assert EdgeImages.of(found, SHAPE, [5, 5]).labels.tolist() == [5, 5]
    with pytest.raises(ValueError, match=r"wanted those of \[3, 5, 6\]"):
        EdgeImages.of(found, (3, 5, 6))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 6),
    shape=st.tuples(st.integers(1, 4), st.integers(5, 7), st.integers(5, 7)),
    floats=st.booleans(),
    data=st.data(),
)
def test_digests_tell_images_and_not_layouts(n, shape, floats, data):
    array = pixels(n, *shape)
    array = array.astype(np.float32) if floats else array
    other = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    a, b = (image_digests(EdgeImages.of(each, shape)) for each in (array, other))
    assert np.array_equal(a, b)
    i = data.draw(st.integers(0, n - 1))
    place = data.draw(st.integers(0, array[i].size - 1))
    array[i].flat[place] = 255 - array[i].flat[place]  # never the same: 127.5 is no pixel
    changed = (image_digests(EdgeImages.of(array, shape)) != a).any(axis=1)
    assert changed.tolist() == [j == i for j in range(n)]


def test_digests_tell_pixels_from_preprocessed_images():
    array = pixels(1, *SHAPE)
    a, b = (image_digests(EdgeImages.of(x, SHAPE)) for x in (array, array.astype(np.float32)))
    assert not np.array_equal(a, b)


def test_images_of_a_camera_that_reuses_its_buffer_are_each_their_own() -> None:
    buffer, label = np.zeros((1, 4, 4), np.uint8), np.zeros(1, np.int64)

    def frames() -> Iterator[Any]:
        for i in range(3):
            buffer[...] = i
            label[...] = i
            yield buffer, label

    found = EdgeImages.of(frames(), (1, 4, 4))
    assert found.array[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2]


def test_images_by_a_mask_are_those_where_it_is_true() -> None:
    images = EdgeImages.of(np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), (1, 1, 1), [0, 1, 2])
    assert images.subset([True, False, True]).array.ravel().tolist() == [0, 2]
    with pytest.raises(TypeError, match=r"places, .*mask"):
        images.subset([0.5])
