"""Which folders are splits and which are classes: other people's names, and what could be both."""

from __future__ import annotations

import pytest

from pyedge.images.class_folders import Arrangement, LayoutError, arrange
from pyedge.images.left_out import LeftOut
from pyedge.images.split_names import is_container, is_unlabelled, splits_among


def names(*folders: str, n: int = 2, classes: tuple[str, ...] = ("cat", "dog")) -> list[str]:
    return [
        f"{f}/{c}/{i}.jpg".removeprefix("/") for f in folders for c in classes for i in range(n)
    ]


def loose(folder: str, n: int = 2) -> list[str]:
    return [f"{folder}/{i}.jpg" for i in range(n)]


def arranged(
    files: list[str], others: LeftOut | None = None, folders: tuple[str, ...] = (), **options
) -> Arrangement:
    return arrange("photos", files, folders, LeftOut() if others is None else others, **options)


def counts(found: Arrangement) -> dict[str | None, int]:
    return {split: len(files) for split, files in found.files.items()}


@pytest.mark.parametrize(
    "folders",
    [
        "train test",
        "training_set test_set",
        "seg_train/seg_train seg_test/seg_test",
        "train/images test/images",
        "images/train images/test",
        "data/train data/test",
        "dataset/dataset/train dataset/dataset/test",
        "imgs_train imgs_test",
        "dataset_train dataset_test",
        "train_data test_data",
        "TRAIN TEST",
        "trainset testset",
        "TrainingSet TestSet",
        "train-images test-images",
        "train2017 test2017",
        "01_train 02_test",
        "signs_train signs_test",
        "train/train_images test",
        "x/train/animals x/test/animals",
        "train holdout",
    ],
)
def test_layout_splits_by_any_usual_name_hold_the_classes(folders):
    found = arranged(names(*folders.split()))
    assert found.classes == ("cat", "dog")
    assert counts(found) == {"train": 4, "test": 4}
    for files in found.files.values():
        assert all(f"/{found.classes[label]}/" in name for name, label in files)
    assert not any("train" in name.lower() for name, _ in found.files["test"])


@pytest.mark.parametrize("val", ["val", "valid", "Validation", "dev", "val_set", "eval", "VAL2017"])
def test_layout_validation_by_any_usual_name_is_val(val):
    assert counts(arranged(names("train", val, "test"))) == {"train": 4, "val": 4, "test": 4}


def test_layout_order_and_labels_are_those_of_the_classes_names():
    files = ["set/b/2.jpg", "set/a b/1.jpg", "set/a/10.jpg", "set/a/9.jpg", "set/b/1.jpg"]
    found = arranged(files[::-1])
    assert found.classes == ("a", "a b", "b")
    expected = ["set/a/10.jpg", "set/a/9.jpg", "set/a b/1.jpg", "set/b/1.jpg", "set/b/2.jpg"]
    assert found.files[None] == list(zip(expected, [0, 0, 1, 2, 2], strict=True))


def test_layout_a_test_that_lacks_a_class_keeps_the_ids_of_train():
    found = arranged(
        names("train", classes=("ant", "bee", "cow")) + names("test", classes=("cow",))
    )
    assert [label for _, label in found.files["test"]] == [2, 2]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (("steam_train", "bullet_train"), {}),
        (("positive_test", "negative_test"), {}),
        (("trained", "untrained", "contest"), {}),
        (("training_shoes", "sandals"), {}),
        (("cats_train", "cats_test"), {"cats_train": "train", "cats_test": "test"}),
        (("trainval", "test"), {"trainval": "train", "test": "test"}),
        (("train_test", "other"), {}),
    ],
)
def test_layout_words_in_the_names_of_classes_make_no_splits(group, expected):
    assert splits_among(group) == expected


@pytest.mark.parametrize("name", ["images", "img_data", "JPEGImages", "Cropped Images"])
def test_layout_container_says_only_that_there_are_images(name):
    assert is_container(name)
    assert not is_container("image_of_cat")
    assert not is_container("new")
    assert is_unlabelled("seg_pred")
    assert not is_unlabelled("images")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (names("train", "val", "valid", "test"), "val and valid .*both .*like val"),
        (names("train", "Training", "test"), "Training and train .*both .*like train"),
        (names("", "test"), r"test \(with cat, dog in it\) beside cat, dog .*split"),
        (names("", classes=("bus", "car", "train")), r"train beside bus, car .*split"),
        (names("", classes=("valid", "invalid")), "valid beside invalid .*split"),
        (names("") + loose("test"), "test beside cat, dog .*split or a class"),
        (names("train", "test", "extra"), "extra beside train/; .*train/, test/"),
        (names("a", "b"), r"a, b .*same names \(cat, dog\)"),
        (names("color", "grey", "segmented"), r"color, grey, segmented .*same"),
        (names("", "cells"), "cells .*beside cat, dog .*same names"),
        (
            [f"{c}/{s}/1.jpg" for c in ("cat", "dog") for s in ("train", "test")],
            r"splits .*inside of classes \(cat/test, cat/train\)",
        ),
    ],
)
def test_layout_that_could_be_a_mistake_stops_and_shows_what_it_would_do(files, words):
    with pytest.raises(LayoutError, match=words) as caught:
        arranged(files)
    if "both" not in words:
        assert "splits=False (--splits no) takes all" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        (names("", classes=("bus", "car", "train")), ("bus", "car", "train")),
        (names("train", "test"), ("test", "train")),
        (names("a", "b"), ("a", "b")),
        ([f"{c}/{s}/1.jpg" for c in ("cat", "dog") for s in ("train", "test")], ("cat", "dog")),
        (loose("images"), ("images",)),
    ],
)
def test_layout_without_splits_takes_folders_for_classes_whatever_they_are_called(files, classes):
    found = arranged(files, splits=False)
    assert found.classes == classes
    assert counts(found) == {None: len(files)}


def test_layout_with_splits_leaves_the_folders_beside_them_out_and_notes_them():
    left_out = LeftOut()
    found = arranged(names("train", "test", "extra"), left_out, splits=True)
    assert counts(found) == {"train": 4, "test": 4}
    assert left_out.told().startswith("4 .jpg (beside the splits: extra/cat/0.jpg, ")
    with pytest.raises(LayoutError, match=r"no folder .*train, val or test; .*cat"):
        arranged(names(""), splits=True)


@pytest.mark.parametrize("folder", ["seg_pred/seg_pred", "unlabeled", "predictions", "pred"])
def test_layout_images_without_labels_beside_splits_are_left_out_and_noted(folder):
    left_out = LeftOut()
    extra = loose(folder, 3)
    assert counts(arranged(names("train", "test") + extra, left_out)) == {"train": 4, "test": 4}
    assert sorted(left_out.names) == sorted(extra)
    assert "has no class folders, so no labels" in left_out.told()


def test_layout_loose_test_images_are_no_test_and_loose_training_images_are_refused():
    left_out = LeftOut()
    found = arranged(names("train", "val") + loose("test/images"), left_out)
    assert counts(found) == {"train": 4, "val": 4}
    assert left_out.names == loose("test/images")
    for place in ("Test/Test", "signs_test/signs_test", "test/test_images"):
        train = "signs_train" if "signs" in place else "train"
        left_out = LeftOut()
        assert counts(arranged(names(train) + loose(place), left_out)) == {"train": 4}
        assert left_out.names == loose(place)
    with pytest.raises(LayoutError, match=r"train/0\.jpg .*not in a class folder"):
        arranged(loose("train") + names("test"))


def test_layout_of_one_class_that_is_called_images_has_no_class():
    for folder in ("images", "set/imgs"):
        with pytest.raises(LayoutError, match=r"0\.jpg .*not in a class folder"):
            arranged(loose(folder))
    assert arranged(loose("mug")).classes == ("mug",)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (["labels/0.txt", "labels/1.txt"], r"labels/ \(YOLO\) .*detection"),
        (["Annotations/0.xml"], r"annotations/ \(VOC, COCO\) .*detection"),
        (["train.csv"], r"labels in a table \(train\.csv\) .*not read"),
    ],
)
def test_layout_of_another_kind_is_named(others, words):
    left_out = LeftOut()
    for name in others:
        left_out.add(name, "no image")
    with pytest.raises(LayoutError, match=words):
        arranged(loose("images"), left_out)


@pytest.mark.parametrize(
    "files", [names(""), names("train", "test"), names("set/train", "set/val")]
)
def test_layout_of_images_and_masks_is_named(files):
    masks = [name.replace("cat/", "images/").replace("dog/", "masks/") for name in files]
    with pytest.raises(LayoutError, match=r"images, masks .*segmentation"):
        arranged(masks)
    assert arranged(names("", classes=("labels", "cat"))).classes == ("cat", "labels")


def test_layout_a_class_folder_without_images_is_named_with_what_was_left_out():
    with pytest.raises(LayoutError, match=r"class folder emu .*no images"):
        arranged(names(""), folders=("cat", "dog", "emu"))
    left_out = LeftOut()
    left_out.add("emu/1.heic", "HEIC")  # an archive lists no folders
    with pytest.raises(LayoutError, match=r"folder emu .*no images \(.* 1 left out"):
        arranged(names(""), left_out)
    with pytest.raises(LayoutError, match=r"val/ .*no images"):
        arranged(names("train", "test"), folders=("train", "test", "val"))


def test_layout_for_class_folders_alone_takes_a_class_called_train():
    files = names("", classes=("bus", "car", "train"))
    assert arranged(files, only_classes=True).classes == ("bus", "car", "train")
    with pytest.raises(LayoutError, match="could be a split"):
        arranged(names("", "test"), only_classes=True)
