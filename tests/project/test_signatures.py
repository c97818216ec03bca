"""The public functions: one order, one name a thing, and what was called otherwise before."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
import torch

import pyedge
from pyedge import models
from pyedge.cloud.training.train import finetune
from pyedge.cloud.training.train_options import (
    TrainOptions,
    TrainSettings,
    TransferOptions,
    TransferSettings,
)
from pyedge.edge.learner import EdgeLearner
from pyedge.images.edge_images import EdgeImages
from tests.support.edge_student import tiny_student
from tests.support.knowledge_case import loud_teacher, pixels
from tests.support.tiny_pair import batches, pair

QUICK = TrainOptions(steps=3, lr=0.05, progress=False)
FUNCTIONS = [
    each
    for name in pyedge.__all__
    if inspect.isfunction(each := getattr(pyedge, name)) and not inspect.isclass(each)
]
METHODS = [
    each
    for kind in (pyedge.EdgeLearner, pyedge.Memory, pyedge.Cloud)
    for name, each in inspect.getmembers(kind, inspect.isfunction)
    if not name.startswith("_") and name != "memory" and len(inspect.signature(each).parameters) > 1
]
CALLS = [
    *(*FUNCTIONS, *METHODS, pyedge.EdgeLearner, pyedge.Memory, pyedge.Knowledge, pyedge.Cloud),
    *(TrainOptions, TransferOptions, pyedge.LearnOptions),
    *(EdgeImages.of, EdgeImages.from_array, EdgeImages.from_folder, EdgeImages.from_iterable),
]


def names_of(call: Any) -> list[str]:
    return [name for name in inspect.signature(call).parameters if name != "self"]


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, two) for one, two in zip(a, b, strict=True))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_signature_hides_nothing(call: Any) -> None:
    parameters = inspect.signature(call).parameters.values()
    assert not [p for p in parameters if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert not [p.name for p in parameters if p.annotation is p.empty and p.name != "self"]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_wrong_name_is_told_which_there_are(call: Any) -> None:
    names = ", ".join(names_of(call))
    with pytest.raises(TypeError) as error:
        call(nonsense_=1)
    assert f": wanted arguments among {names}, got 'nonsense_'" in str(error.value)


@pytest.mark.parametrize("call", FUNCTIONS, ids=lambda call: call.__name__)
def test_student_comes_first_and_then_the_teacher(call: Any) -> None:
    names = names_of(call)
    assert names.index("student") == 0 if "student" in names else True
    assert names.index("teacher") == 1 if "teacher" in names else True
    assert not {"val_loader", "test_loader", "learner", "many"} & set(names)
    if "path" in names and len(names) > 1:
        assert names.index("path") > 0


def test_compress_takes_what_plan_takes() -> None:
    planned = inspect.signature(pyedge.plan).parameters
    assert dict(inspect.signature(pyedge.compress).parameters) == dict(planned)


@pytest.mark.parametrize(
    ("options", "settings"), [(TrainOptions, TrainSettings), (TransferOptions, TransferSettings)]
)
def test_settings_of_the_cloud_are_the_fields_of_its_options(options: Any, settings: Any) -> None:
    told = {name: each.__forward_arg__ for name, each in settings.__annotations__.items()}
    assert told == {f.name: f.type for f in dataclasses.fields(options)}


def test_one_thing_is_a_keyword_and_a_field_on_both_sides() -> None:
    for call, options in (
        (pyedge.transfer, TransferOptions),
        (EdgeLearner.learn, pyedge.LearnOptions),
    ):
        parameters = inspect.signature(call).parameters
        for name in ("lambdas", "norms", "epochs", "lr"):
            assert parameters[name].default == getattr(options(), name)


@pytest.mark.parametrize("call", [pyedge.train, finetune])
def test_val_and_test_were_called_loaders(call: Any) -> None:
    found = []
    for old in (True, False):
        model, _ = pair()
        if old:
            with pytest.warns(DeprecationWarning, match="is called") as told:
                result = call(
                    model, batches(), val_loader=batches(), test_loader=batches(), options=QUICK
                )
            assert [str(each.message).partition(";")[0] for each in told] == [
                f"{call.__name__}: val_loader is called val now",
                f"{call.__name__}: test_loader is called test now",
            ]
        else:
            result = call(model, batches(), val=batches(), test=batches(), options=QUICK)
        found.append((weights(model), result.test_accuracy, result.best_score))
    assert same(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]


@pytest.mark.parametrize("call", [pyedge.transfer, pyedge.fitnet])
@pytest.mark.parametrize("labels", [True, False, None])
def test_labelled_was_called_labels(call: Any, labels: Any) -> None:
    found = []
    for old in (True, False):
        student, teacher = pair()
        if old:
            with pytest.warns(DeprecationWarning, match="labels is called labelled now"):
                result = call(student, teacher, batches(), labels=labels, options=QUICK)
        else:
            result = call(student, teacher, batches(), labelled=bool(labels), options=QUICK)
        assert ("J_3" in result.history[-1]) is bool(labels)
        found.append(weights(student))
    assert same(*found)


def test_transfer_takes_its_settings_as_keywords_and_as_fields() -> None:
    found = []
    own = {"lambdas": (2.0, 1.0, 0.5), "norms": "image", "padding": "end"}
    for how in (
        {"options": QUICK, **own},
        {"options": TransferOptions(steps=3, lr=0.05, progress=False, **own)},
        {"options": TransferOptions(steps=3, lr=0.05, progress=False), **own},
    ):
        student, teacher = pair()
        pyedge.transfer(student, teacher, batches(), **how)
        found.append(weights(student))
    student, teacher = pair()
    pyedge.transfer(student, teacher, batches(), options=QUICK)
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert not same(found[0], weights(student))


def test_make_knowledge_took_the_teacher_first(tmp_path: Any) -> None:
    teacher, student, images = loud_teacher(), tiny_student(), pixels(5)
    pyedge.write_student(student, tmp_path / "s.pyedge")
    new = pyedge.make_knowledge(student, teacher, images, tmp_path / "new", progress=False)
    for i, given in enumerate((student, tmp_path / "s.pyedge")):
        with pytest.warns(DeprecationWarning, match="make_knowledge: student comes before teacher"):
            old = pyedge.make_knowledge(
                teacher, given, images, tmp_path / f"old{i}", progress=False
            )
        assert old.digest == new.digest
    with pytest.warns(DeprecationWarning, match="student comes before teacher now"):
        old = pyedge.make_knowledge(
            teacher, student=student, images=images, path=tmp_path / "third", progress=False
        )
    assert old.digest == new.digest
    named = {"teacher": teacher, "student": student}
    assert pyedge.knowledge_bytes(**named, images=5) == pyedge.knowledge_bytes(student, teacher, 5)
    with pytest.warns(DeprecationWarning, match="knowledge_bytes: student comes before teacher"):
        assert pyedge.knowledge_bytes(teacher, student, 5) == pyedge.knowledge_bytes(
            **named, images=5
        )


def test_make_knowledge_asks_for_names_where_two_students_could_be_either(tmp_path: Any) -> None:
    torch.manual_seed(0)
    teacher = models.create("wrn", depth=16, widths=(6, 8, 10), stem=4, num_classes=3).eval()
    x = torch.randn(8, 3, 12, 12)
    first = pyedge.compress(teacher, images=x, widths=[3, 4, 5, 5, 6, 6, 7])
    second = pyedge.compress(teacher, images=x, widths=[3, 3, 4, 4, 5, 5, 6])
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 12, 12), dtype=np.uint8)
    for one, other in ((first, second), (second, first)):
        with pytest.raises(TypeError, match=r"wanted student=\.\.\., teacher=\.\.\. by name"):
            pyedge.make_knowledge(one, other, images, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()
    assert pyedge.knowledge_bytes(student=second, teacher=first, images=4) > 0
    size = pyedge.knowledge_bytes(second, teacher, 4)
    with pytest.warns(DeprecationWarning, match="student comes before teacher"):  # a plain network
        assert pyedge.knowledge_bytes(teacher, second, 4) == size
