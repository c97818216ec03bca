"""load_dataset and load_folder on folders as people have them: counts, classes, warnings."""

from __future__ import annotations

import pytest
import torch

from pyedge.data import load_cifar10, load_dataset, load_folder
from pyedge.errors import FormatError
from tests.support.folder_trees import encoded, folder, pixels, tarred, tree, zipped


def names(*folders: str, classes: str = "ab", n: int = 5) -> list[str]:
    return [
        f"{f}/{c}/{i}.png".removeprefix("/") for f in folders for c in classes for i in range(n)
    ]


def counts(parts) -> list[tuple[int, ...]]:
    return [part.counts for part in parts]


@pytest.mark.parametrize(
    "folders",
    [
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "test/images"),
        ("Image Data/Train", "Image Data/Test"),
    ],
)
def test_dataset_splits_by_other_names_are_the_splits(tmp_path, folders):
    members = tree(*names(*folders))
    plain = tree(*names("train", "test"))
    expected = load_dataset(folder(tmp_path / "plain", plain))
    for path in (
        folder(tmp_path / "a", members),
        zipped(tmp_path / "a.zip", members),
        tarred(tmp_path / "a.tar", members),
    ):
        found = load_dataset(path)
        assert counts(found) == [(4, 4), (1, 1), (5, 5)]
        for mine, theirs in zip(found, expected, strict=True):
            assert torch.equal(mine.images, theirs.images)
            assert mine.classes == theirs.classes == ("a", "b")


def test_dataset_unlabelled_images_beside_the_splits_are_told_and_left_out(tmp_path):
    extra = [f"seg_pred/seg_pred/{i}.png" for i in range(3)]
    path = folder(tmp_path, tree(*names("seg_train", "seg_test"), *extra))
    with pytest.warns(UserWarning, match=r"3 of 23 files .*: 3 \.png \(seg_pred/ .*no"):
        assert counts(load_dataset(path)) == [(4, 4), (1, 1), (5, 5)]


def test_dataset_test_without_labels_stops_and_says_how_to_split_train(tmp_path):
    path = folder(tmp_path, tree(*names("train"), "test/1.png", "test/2.png"))
    with pytest.raises(FormatError, match=r"train only; .*: 2 \.png \(test/ .*no class"):
        load_dataset(path)
    assert counts(load_dataset(path / "train")) == [(3, 3), (1, 1), (1, 1)]


def test_dataset_of_one_split_alone_is_split_when_said(tmp_path):
    path = zipped(tmp_path / "train.zip", tree(*names("train")))
    with pytest.raises(FormatError, match=r"train only; .*splits=False \(--splits no\)"):
        load_dataset(path)
    assert counts(load_dataset(path, splits=False)) == [(3, 3), (1, 1), (1, 1)]
    assert load_folder(path).counts == (5, 5)


def test_dataset_test_that_lacks_a_class_is_told_by_name(tmp_path):
    path = folder(tmp_path, tree(*names("train"), *names("test", classes="b")))
    with pytest.warns(UserWarning, match=r"test/ .*no images of a \(1 of 2 classes\)"):
        assert counts(load_dataset(path)) == [(4, 4), (1, 1), (0, 5)]


def test_dataset_class_called_train_is_asked_about_and_taken_when_said(tmp_path):
    path = folder(tmp_path, tree(*names("", classes=("bus", "car", "train"))))
    with pytest.raises(FormatError, match=r"all 3 for classes \(bus, car, train\)"):
        load_dataset(path)
    found = load_dataset(path, splits=False)
    assert found[0].classes == ("bus", "car", "train")
    assert counts(found) == [(3, 3, 3), (1, 1, 1), (1, 1, 1)]
    assert load_folder(path).classes == ("bus", "car", "train")


def test_dataset_folders_beside_splits_are_left_out_when_said(tmp_path):
    path = folder(tmp_path, tree(*names("train", "test", "old")))
    with pytest.raises(FormatError, match=r"old beside train/; .* splits=True \(--splits yes\)"):
        load_dataset(path)
    with pytest.warns(UserWarning, match=r"10 of 30 files .*: 10 \.png \(beside"):
        assert counts(load_dataset(path, splits=True)) == [(4, 4), (1, 1), (5, 5)]


def test_dataset_images_that_are_left_out_need_not_have_the_size_of_the_others(tmp_path):
    members = tree(*names("train", "test")) | {"unlabelled/1.png": encoded(pixels(0, 9, 9))}
    with pytest.warns(UserWarning, match=r"1 of 21 files .*left out"):
        assert load_dataset(folder(tmp_path, members))[0].images.shape[2:] == (6, 6)


def test_folder_images_that_are_none_move_no_label(tmp_path):
    members = tree(*names("", n=2)) | {"a/00.jpg": b"<html>", "b/0.pdf": b"%PDF"}
    for path in (folder(tmp_path / "a", members), zipped(tmp_path / "a.zip", members)):
        with pytest.warns(UserWarning, match=r"2 of 6 files .*left out"):
            found = load_folder(path)
        assert found.labels.tolist() == [0, 0, 1, 1]
        assert [int(p[0, 0, 0]) for p in found.images] == [
            int(pixels(i)[0, 0, 0]) for i in range(4)
        ]


def test_dataset_of_one_photo_is_refused(tmp_path):
    (tmp_path / "1.png").write_bytes(encoded(pixels(0)))
    for load in (load_dataset, load_folder):
        with pytest.raises(FormatError, match=r"1\.png: one image; .*folder"):
            load(tmp_path / "1.png")


@pytest.mark.parametrize("given", [["a", "b"], torch.zeros(3), None, b"photos"])
def test_dataset_of_what_is_no_path_is_a_type_error(given):
    for load in (load_dataset, load_folder, load_cifar10):
        with pytest.raises(TypeError, match=r"path: .*str or a Path, got \w+"):
            load(given)


def test_dataset_of_an_array_file_says_what_to_do(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0")
    with pytest.raises(FormatError, match=r"a\.npy: a numpy array; .*numpy\.load"):
        load_dataset(tmp_path / "a.npy")


def test_cifar10_official_archive_says_nothing_of_its_other_files(tmp_path):
    batch = bytes(10_000 * 3073)
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    members = {f"cifar-10-batches-bin/{name}": batch for name in files}
    members |= {
        "cifar-10-batches-bin/batches.meta.txt": b"x",
        "cifar-10-batches-bin/readme.html": b"x",
    }
    path = tarred(tmp_path / "c.tgz", members, "w:gz")
    train, test = load_cifar10(path)
    assert (len(train), len(test)) == (50_000, 10_000)
    path = tarred(tmp_path / "d.tgz", members | tree("more/1.png"), "w:gz")
    with pytest.warns(UserWarning, match=r"1 \.png \(.*CIFAR-10: more/1\.png"):
        assert len(load_cifar10(path)[0]) == 50_000
