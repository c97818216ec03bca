"""pyedge.export: what a device gets computes what torch does, and what it cannot is refused."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pyedge
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting import check
from pyedge.cloud.exporting.describe import student_file
from pyedge.cloud.exporting.export import export
from pyedge.cloud.exporting.lower import lower
from pyedge.errors import ExportError
from pyedge.student.archive import read_student
from pyedge.student.file import StudentFile
from tests.support.around import differences, student_around
from tests.support.student_files import same
from tests.support.tiny_nets import images, tiny_resnet, tiny_vgg, tiny_wrn

CLASSES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def student() -> Student:
    return pyedge.compress(tiny_wrn(), 0.5, images())


# What is written


@pytest.mark.parametrize("make", [tiny_wrn, tiny_resnet])
def test_export_file_predicts_what_the_student_does(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    student = pyedge.compress(make(), 0.5, images())
    before = {name: value.clone() for name, value in student.state_dict().items()}
    written = export(student, tmp_path / "s.pyedge", classes=CLASSES)
    file = read_student(tmp_path / "s.pyedge")
    assert written is not None
    assert same(file, written)
    x = images(7, seed=3)
    with torch.no_grad():
        logits, taps = student.forward_taps(x)
    np.testing.assert_allclose(file.engine().predict(x.numpy()), logits, rtol=1e-3, atol=1e-4)
    assert file.params == student.params
    assert file.trainable == tuple(
        name.removeprefix("net.") for name in (*student.last_convs, student.classifier)
    )
    layers = file.layers()
    for group, (tap, kept) in enumerate(zip(file.taps, file.kept, strict=True)):
        assert layers[tap].shape == taps[group].shape[1:]
        assert kept.tolist() == student.kept(group).tolist()
        assert kept[-1] < file.teacher_channels[group] == student.teacher_channels[group]
    after = student.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not student.training


def test_export_weights_have_torchs_names_and_values(student: Student) -> None:
    file = student_file(student)
    state = student.net.state_dict()
    for name in ("stem.weight", "groups.0.0.bn1.running_var", "classifier.bias"):
        assert np.array_equal(file.arrays[name], state[name])
    assert [n["name"] for n in file.nodes if n["op"] == "linear"] == [file.classifier]


def test_export_tells_of_itself_in_the_record(student: Student, tmp_path: Path) -> None:
    file = export(student, tmp_path / "s.pyedge", record=({"command": "transfer", "seed": 3},))
    assert file is not None
    assert file.record[0] == {"command": "transfer", "seed": 3}
    assert file.record[1]["pyedge"] == pyedge.__version__
    assert 0 < file.record[1]["gradient_error"] < check.TOLERANCE
    assert file.classes == ("0", "1", "2", "3", "4")


def test_export_hidden_layers_of_a_vgg_go_too() -> None:
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    student = pyedge.compress(tiny_vgg(), 0.5, x, head="keep")
    assert [node["op"] for node in student_file(student).nodes].count("linear") == 3
    assert differences(student) < 1e-6


def test_export_student_for_images_of_another_size(student: Student) -> None:
    assert student_file(student).input_shape == (3, 16, 16)
    assert student_file(student, input_shape=(3, 24, 20)).input_shape == (3, 24, 20)


def test_export_images_that_the_student_cannot_take(student: Student, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"not run .*\(3, 1, 16, 16\)"):
        export(student, tmp_path / "s.pyedge", input_shape=(1, 16, 16))


# Arguments


def test_export_trainable_by_words_and_by_names(student: Student) -> None:
    convs = [f"groups.{g}.0.conv2" for g in range(3)]
    learns = {node["name"] for node in student_file(student, trainable="all").nodes}
    everything = student_file(student, trainable="all").trainable
    assert len(everything) == 7 + 7 + 1  # convolutions, batch norms, classifier
    assert set(everything) <= learns
    assert student_file(student, trainable="last_conv").trainable == (*convs, "classifier")
    assert student_file(student, trainable="classifier").trainable == ("classifier",)
    some = student_file(student, trainable=["classifier", "net.groups.2.0"]).trainable
    block = [f"groups.2.0.{name}" for name in ("bn1", "conv1", "bn2", "conv2")]
    assert some == (*block, "classifier")
    assert student_file(student, trainable=[]).trainable == ()


def test_export_preprocessing_of_every_kind(student: Student) -> None:
    empty: dict[str, list[float]] = {"mean": [], "deviation": []}
    assert student_file(student).preprocessing == {"kind": "image", **empty}
    assert student_file(student, preprocessing="none").preprocessing == {"kind": "none", **empty}
    given = {"kind": "channel", "mean": (0.5, 0.4, 0.3), "deviation": [1, 2, 3]}
    assert student_file(student, preprocessing=given).preprocessing == {
        "kind": "channel",
        "mean": [0.5, 0.4, 0.3],
        "deviation": [1.0, 2.0, 3.0],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["a"]}, "classes: wanted 5 different names, one for each logit, got 1"),
        ({"classes": ["a", "a", "b", "c", "d"]}, "classes: wanted 5 different names"),
        ({"classes": "abcde"}, "classes: wanted a list of names"),
        ({"preprocessing": "crop"}, "preprocessing: wanted"),
        ({"preprocessing": {"kind": "channel", "mean": [0.5]}}, "3 numbers in mean"),
        ({"preprocessing": {"kind": "image", "std": [1]}}, "preprocessing: wanted"),
        ({"trainable": "last"}, "trainable: wanted all, last_conv, classifier"),
        ({"trainable": ["classifer"]}, r"no layer 'classifer' .*\(did you mean classifier\?\)"),
        ({"input_shape": (3, 16)}, r"input_shape: wanted \(c, h, w\)"),
        ({"format": "tflite"}, 'format: wanted "pyedge" or "onnx"'),
    ],
)
def test_export_arguments_that_do_not_fit_are_named(
    options: dict[str, Any], message: str, student: Student, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        export(student, tmp_path / "s.pyedge", **options)
    assert not list(tmp_path.iterdir())


def test_export_other_modules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"result of pyedge\.compress, got Linear"):
        export(nn.Linear(2, 2), tmp_path / "s.pyedge")  # type: ignore[arg-type]


def test_export_follows_a_student_on_other_devices_and_in_training_mode(student: Student) -> None:
    double = copy.deepcopy(student).double().train()
    first, second = student_file(student), student_file(double)
    assert first.structure_digest == second.structure_digest
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in first.arrays)
    assert double.training


# The check


def spoiled(file: StudentFile, name: str, factor: float) -> StudentFile:
    arrays = {**file.arrays, name: (file.arrays[name] * factor).astype(np.float32)}
    return dataclasses.replace(file, arrays=arrays)


@pytest.mark.parametrize("name", ["stem.weight", "groups.2.0.bn2.running_var", "classifier.weight"])
def test_export_check_finds_a_difference_in_any_weight(name: str, student: Student) -> None:
    lowered, file = lower(student), student_file(student)
    assert check.check_against_torch(file, lowered).gradients < check.TOLERANCE
    with pytest.raises(ExportError, match=r"engine .*not compute .*torch"):
        check.check_against_torch(spoiled(file, name, 1.5), lowered)


def test_export_check_finds_a_wrong_tap(student: Student) -> None:
    # the logits are right, but the map that is compared with the teacher's comes from elsewhere
    lowered, file = lower(student), student_file(student)
    names = [node["name"] for node in file.nodes]
    other = (names.index("groups.0.0.conv2"), *file.taps[1:])
    with pytest.raises(ExportError, match="the gradient of"):
        check.check_against_torch(dataclasses.replace(file, taps=other), lowered)


def test_export_check_names_what_the_engine_refuses(student: Student) -> None:
    lowered, file = lower(student), student_file(student)
    short = dataclasses.replace(file, nodes=file.nodes[:-1])
    with pytest.raises(ExportError, match=r"engine .*not take .*graph"):
        check.check_against_torch(short, lowered)


def with_kinks(monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    """Let every comparison on a graph with a ReLU find this difference of the gradients."""
    compared = check._compared

    def found(file: StudentFile, *args: Any) -> check.Agreement:
        real = compared(file, *args)
        kinks = any(node["op"] == "relu" for node in file.nodes)
        return dataclasses.replace(real, gradients=error) if kinks else real

    monkeypatch.setattr(check, "_compared", found)


@pytest.mark.parametrize("make", [tiny_wrn, tiny_resnet])
def test_export_check_looks_at_the_smooth_graph_where_kinks_are_in_the_way(
    make: Callable[[], nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = pyedge.compress(make(), 0.5, images())
    with_kinks(monkeypatch, 1e-3)
    file = export(student, tmp_path / "s.pyedge")
    assert file is not None
    assert file.record[-1]["gradient_error"] == 1e-3
    assert 0 < file.record[-1]["gradient_error_without_kinks"] < check.TOLERANCE
    with_kinks(monkeypatch, 0.2)  # more than kinks can do
    with pytest.raises(ExportError, match=r"by 2\.0e-01 of its norm"):
        export(student, tmp_path / "s.pyedge")


def test_export_check_of_the_graph_alone_finds_what_kinks_would_hide(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered, file = lower(student), student_file(student)
    with_kinks(monkeypatch, 1e-3)
    # too little for the logits' tolerance, but the graph is not torch's network any more
    with pytest.raises(ExportError, match="by inf of its norm"):
        check.check_against_torch(spoiled(file, "groups.0.0.conv2.weight", 1 + 5e-5), lowered)


def test_export_smooth_graph_has_no_kinks_and_the_same_taps() -> None:
    student = student_around(lambda x: F.max_pool2d(F.relu6(F.relu(x)), 3))
    file = student_file(student)
    smooth = check.without_kinks(file)
    ops = [node["op"] for node in smooth.nodes]
    assert ops == ["input", "conv2d", "avg_pool", "flatten", "linear"]
    assert [smooth.nodes[tap]["name"] for tap in smooth.taps] == ["conv"]
    assert smooth.nodes[smooth.output]["name"] == file.classifier


# ONNX


def test_export_onnx_without_the_package_says_what_to_install(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install onnx"):
        export(student, tmp_path / "s.onnx", format="onnx")


def test_export_onnx_predicts_what_the_student_does(student: Student, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx = pytest.importorskip("onnx")
        reference = pytest.importorskip("onnx.reference")
        assert export(student, tmp_path / "s.onnx", format="onnx") is None
        model = onnx.load(tmp_path / "s.onnx")
        onnx.checker.check_model(model)
        x = images(3, seed=5)
        (logits,) = reference.ReferenceEvaluator(model).run(None, {"images": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, student(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocessing": {"kind": "channel", "mean": 0.5, "deviation": 0.2}}, "mean: wanted a"),
        ({"preprocessing": {"kind": "channel", "mean": ["a"] * 3}}, "mean: wanted a list of"),
        ({"preprocessing": {"kind": "image", "mean": None}}, "mean: wanted a list of numbers"),
        ({"preprocessing": 3}, 'preprocessing: wanted "image" '),
        ({"preprocessing": ["image"]}, 'preprocessing: wanted "image" '),
        ({"record": ["a"]}, "record: wanted a list of dicts"),
        ({"record": {"a": 1}}, "record: wanted a list of dicts"),
    ],
)
def test_export_settings_of_another_kind_are_named(
    options: dict[str, Any], message: str, student: Student
) -> None:
    with pytest.raises(TypeError, match=f"export: .*{message}"):
        student_file(student, **options)


@pytest.mark.parametrize("deviation", [0, -1, float("nan")])
def test_export_deviation_that_cannot_divide_is_refused(deviation: float, student: Student) -> None:
    given = {"kind": "channel", "mean": [0.5] * 3, "deviation": [1, deviation, 1]}
    with pytest.raises(ValueError, match="export: preprocessing: deviation: wanted"):
        student_file(student, preprocessing=given)
