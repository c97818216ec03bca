"""Students with weights in 8 bits: the file is small, exact, and checked like any other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyedge
from pyedge.errors import FormatError
from pyedge.student.archive import read_student, write_student
from pyedge.student.builder import GraphBuilder
from pyedge.student.file import StudentFile
from pyedge.student.int8_weights import scales_of, weight_of, whole_numbers
from tests.support.archive_members import members_of, npy, pack
from tests.support.edge_student import changed, images, tiny_student
from tests.support.student_files import every_operator, same

PIXELS, LABELS = images(40)
STUDENT = pyedge.add_int8(tiny_student(), PIXELS)
WEIGHTS = {f"groups.{group}.{conv}.0.weight" for group in (0, 1) for conv in (0, 1)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("students") / "student.pyedge"
    write_student(STUDENT, path)
    return path


def test_int8_file_comes_back_to_the_bit_and_is_written_alike(saved: Path, tmp_path: Path) -> None:
    found = read_student(saved)
    assert same(found, STUDENT)
    assert not found.arrays["groups.0.0.0.weight"].flags.writeable
    write_student(found, tmp_path / "again.pyedge")
    assert (tmp_path / "again.pyedge").read_bytes() == saved.read_bytes()


def test_int8_file_holds_whole_numbers_and_says_so(saved: Path) -> None:
    with np.load(saved) as file:
        document = json.loads(file["graph.json"])
        numbers, scales = file["int8/groups.0.0.0.weight"], file["scales/groups.0.0.0.weight"]
        assert "arrays/groups.0.0.0.weight" not in file
        assert "arrays/head.weight" in file  # the classifier's
    assert document["version"] == 3
    assert set(document["weight_scales"]) == WEIGHTS
    assert numbers.dtype == np.int8
    assert np.abs(numbers).reshape(len(numbers), -1).max(1).tolist() == [127] * len(numbers)
    assert np.array_equal(numbers * scales[:, None, None, None], found_weight(saved))


def found_weight(path: Path) -> np.ndarray:
    return read_student(path).arrays["groups.0.0.0.weight"]


def test_int8_file_is_at_most_three_tenths_of_float32s(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    build = GraphBuilder((3, 8, 8))
    x = 0
    for i, (inside, c) in enumerate(((3, 64), (64, 64), (64, 64))):
        weight = (0.1 * random.standard_normal((c, inside, 3, 3))).astype(np.float32)
        x = build.conv(f"{i}", x, weight, stride=(1, 1), padding=(1, 1))
        x = build.add("relu", f"{i}.relu", [x])
    x = build.add("flatten", "flat", [build.add("global_avg_pool", "pool", [x])])
    head = random.standard_normal((10, 64)).astype(np.float32)
    build.add("linear", "head", [x], weight=head, bias=np.zeros(10, np.float32))
    student = StudentFile(
        nodes=tuple(build.nodes), arrays=build.arrays, input_shape=(3, 8, 8),
        output=len(build.nodes) - 1, taps=(), kept=(), teacher_channels=(), last_convs=(),
        classifier="head", trainable=("head",), classes=tuple("0123456789"),
    )  # fmt: skip
    write_student(student, tmp_path / "float32.pyedge")
    pixels = random.integers(0, 256, (4, 3, 8, 8)).astype(np.uint8)
    write_student(pyedge.add_int8(student, pixels), tmp_path / "int8.pyedge")
    sizes = [(tmp_path / f"{each}.pyedge").stat().st_size for each in ("int8", "float32")]
    assert sizes[0] < 0.3 * sizes[1]


def test_students_without_int8_are_of_the_versions_before(tmp_path: Path) -> None:
    for student, version in (
        (tiny_student(), 1),
        (pyedge.add_statistics(tiny_student(), PIXELS, LABELS), 2),
    ):
        write_student(student, tmp_path / "s.pyedge")
        with np.load(tmp_path / "s.pyedge") as file:
            document = json.loads(file["graph.json"])
        assert document["version"] == version
        assert not {"input_scales", "weight_scales"} & document.keys()


def test_what_has_learned_is_stored_in_float32_again(tmp_path: Path) -> None:
    learner = pyedge.EdgeLearner(STUDENT)
    learner.learn(PIXELS, LABELS, steps=2, batch_size=16, progress=False)
    learner.save(tmp_path / "s.pyedge")
    found = read_student(tmp_path / "s.pyedge")
    assert not changed(found, learner.student)
    # the last convolutions learn
    assert set(found.weight_scales) == {"groups.0.0.0.weight", "groups.1.0.0.weight"}
    assert set(found.input_scales) == set(STUDENT.input_scales)


def test_weights_need_not_be_rounded(tmp_path: Path) -> None:
    known = pyedge.add_statistics(tiny_student(), PIXELS, LABELS)
    with pytest.raises(ValueError, match=r"add_int8: weights: wanted False .*statistics"):
        pyedge.add_int8(known, PIXELS)
    scaled = pyedge.add_int8(known, PIXELS, weights=False)
    assert not changed(known, scaled)
    assert set(scaled.input_scales) == {name.removesuffix(".weight") for name in WEIGHTS}
    write_student(scaled, tmp_path / "s.pyedge")
    found = read_student(tmp_path / "s.pyedge")
    assert found.statistics is not None
    assert found.input_scales == scaled.input_scales
    assert found.weight_scales == {}


def test_add_int8_leaves_classifier_and_groups_alone() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 1, 8, 6)).astype(np.uint8)
    plain = dataclasses.replace(every_operator(), state={}, optimizer={})
    found = pyedge.add_int8(plain, pixels)
    assert set(found.input_scales) == {"stem", "b.conv"}  # a.conv has groups
    assert changed(plain, found) == {"stem.weight", "a.conv.weight", "b.conv.weight"}
    assert found.record[-1] == {"command": "add_int8", "images": 4, "weights": True}


def test_add_int8_wants_images_that_fit() -> None:
    with pytest.raises(ValueError, match=r"add_int8: images: wanted at least one, got none"):
        pyedge.add_int8(tiny_student(), PIXELS[:0])
    with pytest.raises(ValueError, match="EdgeImages"):
        pyedge.add_int8(tiny_student(), PIXELS[:, :, :4])
    with pytest.raises(TypeError, match="add_int8: student"):
        pyedge.add_int8(3, PIXELS)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="add_int8: weights"):
        pyedge.add_int8(tiny_student(), PIXELS, weights=1)  # type: ignore[arg-type]


def test_whole_numbers_are_found_again_from_what_they_stand_for() -> None:
    random = np.random.default_rng(2)
    weight = random.standard_normal((200, 50)).astype(np.float32)
    weight *= np.float32(10) ** random.integers(-30, 30, (200, 1)).astype(np.float32)
    weight[3] = 0
    scales = scales_of(weight)
    numbers = whole_numbers(weight, scales)
    assert (np.abs(numbers).max(1) == 127)[np.arange(200) != 3].all()
    assert not numbers[3].any()
    there = weight_of(numbers, scales)
    assert np.array_equal(whole_numbers(there, scales), numbers)
    assert (np.abs(there - weight) <= 0.5001 * scales[:, None]).all()


# Damage

Change = Callable[[dict[str, Any], dict[str, bytes]], object]
SCALES = STUDENT.weight_scales["groups.0.0.0.weight"]


def put(name: str, array: np.ndarray) -> Change:
    return lambda document, members: members.update({f"{name}.npy": npy(array)})


def scaled(name: str, pair: Any) -> Change:
    return lambda document, members: document["input_scales"].update({name: pair})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (scaled("none", [0.1, 0]), "input_scales: 'none' is no conv2d or linear node"),
        (scaled("head", [0.1, 0]), "input_scales: 'head' is no conv2d or linear node"),
        (scaled("pool", [0.1, 0]), "input_scales: 'pool' is no conv2d or linear node"),
        (scaled("groups.0.0.0", [0, 0]), "input_scales: 'groups.0.0.0': wanted a scale"),
        (scaled("groups.0.0.0", [1e-31, 0]), "input_scales: 'groups.0.0.0': wanted a scale"),
        (scaled("groups.0.0.0", [0.1, 256]), "zero point from 0 to 255"),
        (scaled("groups.0.0.0", [0.1, 0.5]), "zero point from 0 to 255"),
        (scaled("groups.0.0.0", [0.1]), "input_scales: 'groups.0.0.0'"),
        (scaled("groups.0.0.0", "0.1"), "input_scales: 'groups.0.0.0'"),
        (lambda d, m: d.update(input_scales=[1]), "input_scales: wanted scales by names"),
        (lambda d, m: d.pop("input_scales"), "lacks 'input_scales'"),
        (lambda d, m: d.update(version=2), "unknown 'input_scales'"),
        (lambda d, m: d.update(version=4), "version 4; this pyedge reads versions 1 to 3"),
        (lambda d, m: d.update(weight_scales={}), "weight_scales: wanted a list of names"),
        (lambda d, m: d.update(weight_scales=[3]), "weight_scales: wanted a list of names"),
        (lambda d, m: d["weight_scales"].append("head.bias"), "'head.bias' is no weight"),
        (lambda d, m: d["weight_scales"].append("nothing"), "'nothing' is no weight"),
        (lambda d, m: d["weight_scales"].append(d["weight_scales"][0]), "wanted different arrays"),
        (lambda d, m: d["weight_scales"].pop(), "lacks 'arrays/groups.1.1.0.weight.npy'"),
        (lambda d, m: m.pop("scales/groups.0.0.0.weight.npy"), "lacks 'scales/groups"),
        (lambda d, m: m.pop("int8/groups.0.0.0.weight.npy"), "lacks 'int8/groups"),
        (put("scales/groups.0.0.0.weight", SCALES * np.nan), "wanted finite numbers from 0"),
        (put("scales/groups.0.0.0.weight", -SCALES), "wanted finite numbers from 0"),
        (put("scales/groups.0.0.0.weight", np.full_like(SCALES, 3e38)), "NaN or infinity"),
        (put("scales/groups.0.0.0.weight", SCALES[:-1]), "has not the size|wanted float32"),
        (
            put("int8/groups.0.0.0.weight", np.zeros((3, 1, 3, 3), np.uint8)),
            "wanted int8",
        ),
    ],
)
def test_damaged_int8_files_are_refused(
    change: Change, told: str, saved: Path, tmp_path: Path
) -> None:
    members = members_of(saved)
    document = json.loads(members["graph.json"])
    change(document, members)
    members["graph.json"] = json.dumps(document).encode()
    with pytest.raises(FormatError, match=told):
        read_student(pack(tmp_path / "damaged.pyedge", members))


def test_altered_int8_files_never_give_another_student(saved: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    whole, altered = saved.read_bytes(), tmp_path / "altered.pyedge"
    for place in random.integers(0, len(whole), 300).tolist():
        data = bytearray(whole)
        data[place] ^= int(random.integers(1, 256))
        altered.write_bytes(data)
        try:
            found = read_student(altered)
        except FormatError:
            continue
        assert same(found, STUDENT)  # bytes that mean nothing, such as a date


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"input_scales": {"head": (0.1, 300)}}, "input_scales: 'head'"),
        ({"weight_scales": {"groups.0.0.0.weight": SCALES[:-1]}}, "weight_scales: .*float32"),
        ({"weight_scales": {"groups.0.0.0.weight": SCALES.astype(np.float64)}}, "float64"),
        ({"weight_scales": {"groups.0.0.0.weight": -SCALES}}, "finite numbers from 0"),
        ({"weight_scales": {"head.bias": SCALES}}, "'head.bias' is no weight"),
        ({"weight_scales": [1]}, "weight_scales: wanted scales by names"),
    ],
)
def test_only_what_would_be_read_is_written(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=told):
        write_student(dataclasses.replace(STUDENT, **changes), tmp_path / "s.pyedge")
    assert not (tmp_path / "s.pyedge").exists()
