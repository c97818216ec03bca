"""Class names on the device: told at the door, matched by name, whole in files that are there."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyedge.edge.learner import EdgeLearner
from pyedge.errors import FormatError
from pyedge.images.class_folders import arrange
from pyedge.images.edge_images import EdgeImages
from pyedge.images.left_out import LeftOut
from pyedge.student.archive import read_student, write_student
from tests.support.edge_student import CLASSES, images, tiny_student

NFC, NFD = "caf\u00e9", "cafe\u0301"
SHAPE = (1, 8, 8)


def named(*classes: str) -> Any:
    return dataclasses.replace(tiny_student(), classes=classes)


class DataSet:
    """Images with ids, and the names of these ids, as torchvision's data sets have them."""

    def __init__(self, classes: list[str], labels: Any) -> None:
        self.classes, self.labels = classes, labels

    def __iter__(self) -> Any:
        return iter(zip(images(len(self.labels))[0], self.labels, strict=True))


@pytest.mark.parametrize(
    "name", ["mug\r", "tab\there", "x" * 201, "caf\udce9", " mug", "\ufeffmug"]
)
def test_class_doors_add_classes_refuses_at_once_what_save_could_not_keep(name: str) -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match="add_classes: class 1, ") as caught:
        learner.add_classes(["cup", name])
    assert str(caught.value).isprintable()
    assert learner.classes == CLASSES


@pytest.mark.parametrize(
    "name",
    ["tench, Tinca tinca", "Größe", "猫", "x" * 200, 'a "b" \\c', np.str_("mug"), "-x", "@y"],
)
def test_class_doors_a_name_that_is_taken_is_saved_and_read_whole(
    name: str, tmp_path: Path
) -> None:
    learner = EdgeLearner(tiny_student())
    learner.add_classes([name])
    pixels, labels = images()
    learner.learn(pixels, np.where(labels == 2, 3, labels), steps=2)
    learner.save(tmp_path / "s.pyedge")
    found = read_student(tmp_path / "s.pyedge")
    assert found.classes == (*CLASSES, str(name))
    assert found.record[0]["classes"] == [str(name)]
    assert EdgeLearner(found).evaluate(pixels, np.full(len(pixels), name)).count == len(pixels)


def test_class_doors_a_file_with_odd_names_is_read_taught_and_saved(tmp_path: Path) -> None:
    odd = ("mug ", "mug", "a\x9fb")
    write_student(named(*odd), tmp_path / "s.pyedge")
    learner = EdgeLearner(tmp_path / "s.pyedge")
    pixels, labels = images()
    learner.learn(pixels, np.array(odd)[labels], steps=1)
    learner.add_classes(["cup"])
    learner.save(tmp_path / "s.pyedge")
    assert read_student(tmp_path / "s.pyedge").classes == (*odd, "cup")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("a", "b", "c\udce9"), r"class 2: .*'c\\udce9', which is not UTF-8"),
        (("a", "", "c"), "class 1: .*'', which is empty"),
        (("a", "b", "b"), "'b' at 1 and 2"),
        ({"a", "b", "c"}, "list, got a set"),
    ],
)
def test_class_doors_a_student_that_no_file_could_hold_does_not_learn(
    classes: Any, message: str, tmp_path: Path
) -> None:
    student = dataclasses.replace(tiny_student(), classes=classes)
    with pytest.raises(ValueError, match=message):
        EdgeLearner(student)
    with pytest.raises(FormatError, match=f"write_student: .*{message}"):
        write_student(student, tmp_path / "s.pyedge")


def test_class_doors_labels_in_another_spelling_are_the_same_class() -> None:
    learner = EdgeLearner(named("cat", NFC, "dog"))
    pixels, labels = images()
    given = np.array(["cat", NFD, "dog"])[labels]
    assert np.array_equal(
        learner.evaluate(pixels, given).confusion, learner.evaluate(pixels, labels).confusion
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Dog", r"knows no class Dog; .*\('dog' is there, .*not 'Dog'\)"),
        ("dog\r", r"knows no class 'dog\\r'; .*'dog' is there"),
        ("d\u043eg", r"'dog' is there, .*not 'd\\u043eg'"),
    ],
)
def test_class_doors_labels_of_no_class_are_shown_beside_the_nearest(
    name: str, message: str
) -> None:
    learner = EdgeLearner(named("cat", "cup", "dog"))
    with pytest.raises(ValueError, match=message):
        learner.evaluate(images(4)[0], ["cat", "cat", name, "cup"])


def test_class_doors_ids_of_a_data_set_are_matched_by_its_names() -> None:
    learner = EdgeLearner(tiny_student())
    pixels, labels = images(30)
    wanted = learner.evaluate(pixels, labels)
    order = ["middle", "high", "low"]
    ids = np.array([order.index(CLASSES[label]) for label in labels])
    found = learner.evaluate(DataSet(order, ids))
    assert np.array_equal(found.confusion, wanted.confusion)
    assert found.loss == pytest.approx(wanted.loss)
    other = EdgeLearner(tiny_student())
    learner.learn(pixels, labels, steps=3)
    other.learn(DataSet(order, ids), labelled=True, steps=3)
    after = (each.student.arrays["head.weight"] for each in (learner, other))
    assert np.array_equal(*after)


def test_class_doors_ids_of_a_data_set_with_other_classes_are_refused() -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match=r"no class mug; .*low, middle, high"):
        learner.evaluate(DataSet(["low", "middle", "mug"], [0, 1, 2]))
    with pytest.raises(ValueError, match=r"labels: wanted ids in 0\.\.1, the 2 classes"):
        learner.evaluate(DataSet(["low", "middle"], [0, 1, 2]))
    # as many as a data set has, with images of those that the student knows
    many = ["ant", "high", "bee", "low", "cow", "middle"]
    assert learner.evaluate(DataSet(many, [3, 5, 3])).confusion.sum(1).tolist() == [2, 1, 0]
    nameless = EdgeLearner(named("0", "1", "2"))  # exported without names: ids are all there is
    assert nameless.evaluate(DataSet(["a", "b", "c"], [0, 1, 2])).count == 3


def test_class_doors_a_loader_names_the_classes_of_its_data_set() -> None:
    class Loader:
        dataset = SimpleNamespace(dataset=SimpleNamespace(classes=["high", "middle", "low"]))

        def __iter__(self) -> Any:
            return iter([(pixels[:4], labels[:4]), (pixels[4:], labels[4:])])

    pixels, labels = images(9)
    learner = EdgeLearner(tiny_student())
    found = learner.evaluate(Loader()).confusion
    assert np.array_equal(found, learner.evaluate(pixels, 2 - labels).confusion)


def test_class_doors_ids_for_classes_called_by_other_numbers_are_warned_of() -> None:
    learner = EdgeLearner(named("0", "1", "10"))
    pixels, labels = images(6)
    with pytest.warns(UserWarning, match=r"id 2 is class '10'; .*names"):
        learner.evaluate(pixels, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.evaluate(pixels, np.array(learner.classes)[labels])
        EdgeLearner(named("0", "1", "2")).evaluate(pixels, labels)
        EdgeLearner(named("10", "x", "2")).evaluate(pixels, labels)


def test_class_doors_choosing_by_name_takes_lists_alone_and_any_spelling() -> None:
    found = EdgeImages.of(images(6)[0], SHAPE, ["a", NFD] * 3)
    assert len(found.only_classes([NFC])) == 3
    with pytest.raises(TypeError, match=r"list of names, .*'a'"):
        found.only_classes("a")
    with pytest.raises(ValueError, match=r"named 'A'; there are a, .*'a' is there, and is not"):
        found.only_classes(["A"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("caf\udce9", r"class folders: class 1, 'caf\\udce9', is not UTF-8"),
        ("mug\r", r"class folders: class 1, 'mug\\r', holds a carriage return"),
        ("x" * 250, "class folders: class 1, .* has 250 characters"),
    ],
)
def test_class_doors_folders_are_refused_before_anything_is_decoded(
    name: str, message: str
) -> None:
    with pytest.raises(FormatError, match=f"photos: {message}"):
        arrange("photos", ["ant/1.png", f"{name}/1.png"], [], LeftOut())


def test_class_doors_folders_with_blanks_are_warned_of_and_twins_refused() -> None:
    with pytest.warns(UserWarning, match=r"'mug ', .*blank"):
        assert arrange("photos", ["ant/1.png", "mug /1.png"], [], LeftOut()).classes == (
            "ant",
            "mug ",
        )
    with pytest.raises(FormatError, match="look exactly the same"):
        arrange("photos", [f"{NFC}/1.png", f"{NFD}/1.png"], [], LeftOut())
    with pytest.raises(FormatError, match=r"test has classes that train lacks: 'mug '; .*'mug' is"):
        arrange("photos", ["train/mug/1.png", "test/mug /1.png", "test/mug/1.png"], [], LeftOut())
