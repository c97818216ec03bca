"""Class names on the cloud side: data, training, export, knowledge and network files."""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset

import pyedge
from pyedge import models
from pyedge.cli.parsing import UsageError
from pyedge.cli.transfer import _check_pair
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.describe import student_file
from pyedge.cloud.network_file import NetworkInfo, read_network, save_network
from pyedge.data import BatchLoader, ImageSet, class_incremental, load_dataset, load_folder
from pyedge.errors import FormatError
from pyedge.student.archive import read_student
from tests.support.edge_student import tiny_student
from tests.support.knowledge_case import loud_teacher, pixels
from tests.support.tiny_nets import images, tiny_wrn

NFC, NFD = "caf\u00e9", "cafe\u0301"
NAMES = ("Größe", "tench, Tinca tinca", "猫", "x" * 200, "<b>&")


@pytest.fixture(scope="module")
def student() -> Student:
    return pyedge.compress(tiny_wrn(), 0.5, images())


def image_set(*classes: str, count: int = 12, side: int = 8) -> ImageSet:
    random = np.random.default_rng(0)
    array = random.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    labels = torch.arange(count) % len(classes)
    return ImageSet(torch.from_numpy(array), labels, classes)


def folders(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(pixels(1, seed=i)[0, 0]).save(path / name / f"{i}.png")
    return path


@pytest.mark.parametrize(
    "given",
    [
        NAMES,
        iter(NAMES),
        np.array(NAMES),
        {name: place for place, name in enumerate(NAMES)}.keys(),
        {name: place for place, name in reversed(list(enumerate(NAMES)))},
    ],
)
def test_class_doors_export_keeps_names_whole_and_in_order(
    given: Any, student: Student, tmp_path: Path
) -> None:
    pyedge.export(student, tmp_path / "s.pyedge", classes=given)
    assert read_student(tmp_path / "s.pyedge").classes == NAMES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (set(NAMES), "a list, which has an order, got a set"),
        (range(5), "class 0: wanted text, such as '0'"),
        (["a", "b", "c", "d", "caf\udce9"], r"class 4, 'caf\\udce9', is not UTF-8"),
        (["a\r", "b\r", "c\r", "d\r", "e\r"], r"class 0, 'a\\r', .*Windows"),
        (["a", "b", "c", "d", "a "], "class 4, 'a ', has a blank at an end"),
        (["a", "b", "c", NFC, NFD], r"'café' and 'cafe\\u0301' .*exactly the same"),
        (
            {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5},
            r"each id of 0\.\.4 once, got \[1, 2, 3, 4, 5\]",
        ),
        (["a", "b"], r"wanted 5 different names, one for each logit, got 2 \(a, b\)"),
    ],
)
def test_class_doors_export_names_the_class_that_it_refuses(
    given: Any, message: str, student: Student, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"export: classes.*{message}"):
        pyedge.export(student, tmp_path / "s.pyedge", classes=given)
    assert not list(tmp_path.iterdir())


def test_class_doors_names_of_data_go_through_export_without_a_second_warning(
    student: Student, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="'A' and 'a' look alike") as caught:
        data = image_set("A", "a", "b", "c", "d")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        part, _ = data.split(0.5)
        old, _ = class_incremental(part, ["b"])
        pyedge.export(student, tmp_path / "s.pyedge", classes=old.classes)
    assert read_student(tmp_path / "s.pyedge").classes == data.classes


@pytest.mark.parametrize("name", ["mug\r", "caf\udce9", "x" * 201, " mug"])
def test_class_doors_data_are_refused_before_training(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ImageSet: classes: class 1"):
        image_set("ant", name)
    with pytest.raises(TypeError, match="an order, got a set"):
        ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.arange(2), {"a", "b"})
    if len(name) < 100 and name.strip() != name[1:]:
        path = folders(tmp_path / "photos", "ant", name)
        with pytest.raises(FormatError, match=r"photos: class folders: class 1, '.*', (is|holds)"):
            load_dataset(path)


def test_class_doors_folders_called_by_numbers_are_told_to_be_in_the_order_of_text(
    tmp_path: Path,
) -> None:
    path = folders(tmp_path / "photos", *map(str, range(11)))
    with pytest.warns(UserWarning, match=r"so that class 2 is '10'; export\(classes=...\)"):
        found = load_folder(path)
    assert found.classes[:3] == ("0", "1", "10")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_folder(folders(tmp_path / "few", "0", "1", "2"))
        load_folder(folders(tmp_path / "mixed", *map(str, range(11)), "x"))


def test_class_doors_image_set_finds_classes_in_any_spelling_and_by_lists_alone() -> None:
    data = image_set("ant", NFC)
    assert data.class_ids([NFD, "ant", 1]) == (1, 0, 1)
    with pytest.raises(TypeError, match=r"list of classes, .*'ant'"):
        data.only_classes("ant")
    with pytest.raises(ValueError, match=r"no class is named 'ant '; .*'ant' is there"):
        data.only_classes(["ant "])


class Named(Dataset):  # type: ignore[type-arg]
    """A data set with names, as torchvision has them."""

    def __init__(self, *classes: str) -> None:
        self.classes = list(classes)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.randn(3, 8, 8), index % len(self.classes)


def test_class_doors_training_refuses_loaders_whose_ids_mean_different_classes() -> None:
    net = models.wrn(10, num_classes=3, widths=(8, 12, 16), stem=8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train = BatchLoader(image_set("ant", "bee", "cow"), 4)
    val = DataLoader(Subset(Named("ant", "cow"), [0, 1]), 2)
    with pytest.raises(ValueError, match=r"class 1: .*loader and val, got 'bee' and 'cow'"):
        pyedge.train(net, train, val=val, epochs=1)
    for test in (DataLoader(Named("cow", "bee", "ant"), 2), BatchLoader(image_set("x", "y"), 4)):
        with pytest.raises(ValueError, match=r"class 0: .*loader and test, got 'ant' and '[cx]"):
            pyedge.train(net, train, test=test, epochs=1)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    pyedge.train(net, train, val=DataLoader(Named("ant", "bee"), 2), steps=1)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (("bee", "ant"), "class 0 is 'ant' in one and 'bee' in the other"),
        (("ant", "bee "), "class 1 is 'bee' in one and 'bee ' in the other"),
        (("ant", "bee", "cow"), "class 2 is '' in one and 'cow' in the other"),
    ],
)
def test_class_doors_transfer_shows_where_teacher_and_student_differ(
    theirs: tuple[str, ...], message: str
) -> None:
    mine = NetworkInfo(builder="wrn_10_1", classes=("ant", "bee"), input_shape=(3, 8, 8))
    args = argparse.Namespace(network="student.pt", teacher="teacher.pt")
    with pytest.raises(UsageError, match=f"student.pt and teacher.pt know different .*{message}"):
        _check_pair(args, mine, dataclasses.replace(mine, classes=theirs))


def test_class_doors_knowledge_takes_the_names_of_the_teacher_by_the_same_rule(
    tmp_path: Path,
) -> None:
    net, file = loud_teacher(), tiny_student()

    def made(classes: Any) -> Any:
        return pyedge.make_knowledge(file, net, pixels(2), tmp_path / "p", classes=classes,
                                     progress=False)  # fmt: skip

    with pytest.warns(UserWarning, match=r"teacher .*no class low, middle, high; .*J_1"):
        found = made({"tench, Tinca tinca": 2, "猫": 0, NFC: 1})
    assert pyedge.Knowledge(tmp_path / "p").classes == ("猫", NFC, "tench, Tinca tinca")
    assert found.columns(["tench, Tinca tinca", NFD]).tolist() == [2, 1]
    with pytest.raises(ValueError, match=r"no class 'mug '; .*猫, café, 'tench, Tinca tinca'"):
        found.columns(["猫", "mug "])
    for classes, message in (
        ({"a", "b", "c"}, "an order, got a set"),
        (["a", "b", "c\udce9"], "class 2, .* is not UTF-8"),
    ):
        with pytest.raises(ValueError, match=f"make_knowledge: classes.*{message}"):
            made(classes)
    odd = dataclasses.replace(file, classes=("a ", "b", "c"))  # of an older file
    kept = pyedge.make_knowledge(
        odd, net, pixels(2), tmp_path / "q", classes=list(odd.classes), progress=False
    )
    assert kept.classes == odd.classes


def test_class_doors_network_file_refuses_bad_names_and_keeps_those_that_it_has(
    tmp_path: Path,
) -> None:
    net = models.create("wrn_10_1", num_classes=2)
    info = NetworkInfo(
        builder="wrn_10_1", options={"num_classes": 2}, classes=("a", "b"), input_shape=(3, 8, 8)
    )
    for classes, message in (({"a", "b"}, "got a set"), (("a", "b\r"), "carriage return")):
        with pytest.raises(ValueError, match=f"save_network: classes.*{message}"):
            save_network(tmp_path / "n.pt", net, dataclasses.replace(info, classes=classes))
    save_network(tmp_path / "n.pt", net, info)
    content = torch.load(tmp_path / "n.pt", weights_only=True)
    torch.save({**content, "classes": ["a ", "b\r"]}, tmp_path / "old.pt")
    old, _ = read_network(tmp_path / "old.pt")
    assert old.classes == ("a ", "b\r")
    save_network(tmp_path / "new.pt", net, dataclasses.replace(old, split_seed=3))
    assert read_network(tmp_path / "new.pt")[0].classes == old.classes
    with pytest.raises(ValueError, match=r"export: classes: class 1, 'b\\r', .*control"):
        student_file(pyedge.compress(net, 0.5, images(8)), classes=old.classes)


def test_class_doors_a_network_remembers_what_its_ids_mean(tmp_path: Path) -> None:
    names, other = ("ant", "bee", "cow"), ("cow", "ant", "bee")
    pixels = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8)
    labels = torch.arange(24) % 3
    right = BatchLoader(ImageSet(pixels, labels, names), 8)
    wrong = BatchLoader(ImageSet(pixels, (labels + 1) % 3, other), 8)
    teacher = models.wrn(10, num_classes=3, widths=(8, 12, 16), stem=8)
    pyedge.train(teacher, right, steps=2, progress=False)
    student = pyedge.compress(teacher, 0.9, right)
    for title, call in {
        "evaluate": lambda: pyedge.evaluate(teacher, wrong),
        "transfer": lambda: pyedge.transfer(student, teacher, wrong, steps=1, progress=False),
        "export": lambda: pyedge.export(student, tmp_path / "s.pyedge", classes=other),
    }.items():
        with pytest.raises(ValueError, match=f"{title}: .*class 0: wanted 'ant', .*got 'cow'"):
            call()
    pyedge.evaluate(teacher, right)
    pyedge.export(student, tmp_path / "s.pyedge", classes=names)
