"""What a network's images looked like goes with it, and decides how a device preprocesses."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pyedge
from pyedge.cli import main
from pyedge.cloud.graph.taps import tap_teacher
from pyedge.cloud.network_file import NetworkInfo, StudentSettings, load_network, save_network
from pyedge.cloud.shown import shown_to
from pyedge.data import BatchLoader, ImageSet, load_dataset, standardise
from pyedge.images.pixels import kind_of
from pyedge.models import create
from pyedge.student.archive import read_student, write_student

CENTRED = {"kind": "channel", "mean": [0.5], "deviation": [0.5]}
BYTES = {"kind": "channel", "mean": [0], "deviation": [1 / 255]}
SCALES: dict[str, tuple[Callable[[Tensor], Tensor], Any]] = {
    "image": (standardise, "image"),
    "none": (lambda x: x.float() / 255, "none"),
    "centred": (lambda x: x.float() / 127.5 - 1, CENTRED),
    "bytes": (lambda x: x.float(), BYTES),
}


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_dataset("digits")[0].subset(range(0, 1200, 4))


def loader_of(digits: ImageSet, scale: str) -> DataLoader:
    return DataLoader(TensorDataset(SCALES[scale][0](digits.images), digits.labels), 64)


def teacher_of(digits: ImageSet, scale: str) -> nn.Module:
    """A teacher that has just begun."""
    torch.manual_seed(0)
    teacher = create("wrn_16_1", num_classes=10, in_channels=1)
    pyedge.train(teacher, loader_of(digits, scale), steps=3, progress=False)
    return teacher.eval()


@pytest.fixture(scope="module")
def teachers(digits: ImageSet) -> dict[str, nn.Module]:
    return {scale: teacher_of(digits, scale) for scale in SCALES}


@pytest.fixture(scope="module")
def students(digits: ImageSet, teachers: dict[str, nn.Module]) -> dict[str, Any]:
    return {
        scale: pyedge.compress(teacher, 0.9, loader_of(digits, scale))
        for scale, teacher in teachers.items()
    }


def told(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in found]


# Export


@pytest.mark.parametrize("scale", ["image", "none"])
def test_export_takes_the_preprocessing_of_the_images_that_were_shown(
    scale: str, students: dict[str, Any], digits: ImageSet, tmp_path: Path
) -> None:
    file = pyedge.export(students[scale], tmp_path / "s.pyedge")
    assert file.preprocessing["kind"] == scale
    assert file.record[-1]["preprocessing"] == "as shown"
    assert read_student(tmp_path / "s.pyedge").record[-1]["shown"]["images"] == 256
    learner = pyedge.EdgeLearner(tmp_path / "s.pyedge")
    with torch.no_grad():
        wanted = students[scale](SCALES[scale][0](digits.images[:50]))
    found = learner.logits(digits.images[:50].numpy())
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", ["centred", "bytes"])
def test_export_warns_where_no_word_fits_and_says_what_does(
    scale: str, students: dict[str, Any], digits: ImageSet, tmp_path: Path
) -> None:
    (text,) = told(lambda: pyedge.export(students[scale], tmp_path / "s.pyedge"))
    assert "neither standardised one by one nor from 0 to 1; as by preprocessing=" in text
    kind, mean, deviation = re.search(
        r'\{"kind": "(\w+)", "mean": (\[.*?\]), "deviation": (\[.*?\])\}', text
    ).groups()
    given = {"kind": kind, "mean": eval(mean), "deviation": eval(deviation)}
    file = pyedge.export(students[scale], tmp_path / "s.pyedge", preprocessing=given)
    assert file.record[-1]["preprocessing"] == "given"
    with torch.no_grad():
        wanted = students[scale](SCALES[scale][0](digits.images[:50]))
    found = pyedge.EdgeLearner(file).logits(digits.images[:50].numpy())
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", SCALES)
def test_export_warns_once_of_a_preprocessing_that_contradicts(
    scale: str, students: dict[str, Any], tmp_path: Path
) -> None:
    for other, (_, given) in SCALES.items():
        found = told(
            lambda given=given: pyedge.export(
                students[scale], tmp_path / "s.pyedge", preprocessing=given
            )
        )
        if other == scale:
            assert not found
            continue
        (text,) = found
        assert text.startswith(f"export: preprocessing is {read_kind(given)!r}, which gives ")
        assert read_student(tmp_path / "s.pyedge").preprocessing["kind"] == read_kind(given)
        if scale in ("image", "none"):
            assert text.endswith(f'preprocessing="{scale}" does')


def read_kind(given: Any) -> str:
    return given if isinstance(given, str) else given["kind"]


def test_export_of_a_student_that_was_shown_nothing_says_so(
    teachers: dict[str, nn.Module], tmp_path: Path
) -> None:
    even = pyedge.compress(teachers["image"], 0.9, torch.zeros(8, 1, 8, 8))
    (text,) = told(lambda: pyedge.export(even, tmp_path / "s.pyedge"))
    assert "not known what images the student was shown" in text
    assert read_student(tmp_path / "s.pyedge").preprocessing["kind"] == "image"
    assert not told(lambda: pyedge.export(even, tmp_path / "s.pyedge", preprocessing="none"))


def test_export_does_not_believe_noise(teachers: dict[str, nn.Module], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no images were given"):
        student = pyedge.compress(teachers["none"], 0.9, input_shape=(1, 8, 8))
    assert shown_to(student) is None
    with pytest.warns(UserWarning, match="not known what images"):
        pyedge.export(student, tmp_path / "s.pyedge")


def test_export_believes_what_the_student_was_taught_on_last(
    digits: ImageSet, teachers: dict[str, nn.Module], tmp_path: Path
) -> None:
    student = pyedge.compress(teachers["none"], 0.9, torch.zeros(8, 1, 8, 8))
    loader = loader_of(digits, "none")
    pyedge.transfer(student, teachers["none"], loader, steps=1, progress=False)
    assert pyedge.export(student, tmp_path / "s.pyedge").preprocessing["kind"] == "none"


# What is remembered, and how long


def test_shown_goes_along_with_copies_pickles_and_files(
    students: dict[str, Any], digits: ImageSet, tmp_path: Path
) -> None:
    student = students["none"]
    torch.save(student, tmp_path / "whole.pt")
    copies = [
        copy.copy(student),
        copy.deepcopy(student),
        pickle.loads(pickle.dumps(student)),
        torch.load(tmp_path / "whole.pt", weights_only=False),
    ]
    for each in copies:
        assert shown_to(each) == shown_to(student)
    assert all(torch.is_tensor(value) for value in student.state_dict().values())
    fresh = pyedge.compress(teacher_of(digits, "image"), 0.9, loader_of(digits, "image"))
    if fresh.widths == student.widths:
        fresh.load_state_dict(student.state_dict())
    assert kind_of(shown_to(fresh)) == "image"


def saved(student: Any, plan: Any, path: Path) -> Path:
    info = NetworkInfo(
        builder="wrn_16_1",
        options={"num_classes": 10, "in_channels": 1},
        classes=tuple("0123456789"),
        input_shape=(1, 8, 8),
        student=StudentSettings.of(plan),
    )
    save_network(path, student, info)
    return path


@pytest.mark.parametrize("scale", ["image", "none"])
def test_network_file_keeps_what_was_shown_and_the_command_line_takes_it(
    scale: str, teachers: dict[str, nn.Module], digits: ImageSet, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    plan = pyedge.plan(teachers[scale], 0.9, loader_of(digits, scale))
    student = plan.build()
    path = saved(student, plan, tmp_path / "s.pt")
    again, _ = load_network(path)
    assert shown_to(again) == shown_to(student) == plan.shown
    out = tmp_path / "s.pyedge"
    assert main(["export", str(path), "--out", str(out)]) == 0
    assert read_student(out).preprocessing["kind"] == scale
    assert "note:" not in capsys.readouterr().err
    other = {"image": "none", "none": "image"}[scale]
    assert main(["export", str(path), "--preprocessing", other, "--out", str(out)]) == 0
    assert f"note: export: preprocessing is '{other}', which gives" in capsys.readouterr().err
    assert read_student(out).preprocessing["kind"] == other


def test_network_file_without_what_was_shown_is_of_standardised_images(
    teachers: dict[str, nn.Module], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = pyedge.plan(teachers["image"], 0.9, torch.zeros(8, 1, 8, 8))
    path = saved(plan.build(), plan, tmp_path / "s.pt")
    content = torch.load(path, weights_only=True)
    assert "shown" not in content
    again, _ = load_network(path)
    assert shown_to(again) is None
    assert main(["export", str(path), "--out", str(tmp_path / "s.pyedge")]) == 0
    assert "note:" not in capsys.readouterr().err
    torch.save({**content, "shown": {"low": "everything"}}, path)
    assert shown_to(load_network(path)[0]) is None


# Images that come later


@pytest.mark.parametrize("scale", ["image", "none", "bytes"])
def test_images_on_another_scale_are_warned_of_wherever_they_come(
    scale: str, digits: ImageSet, students: dict[str, Any], teachers: dict[str, nn.Module]
) -> None:
    for other in ("image", "none", "bytes"):
        loader = loader_of(digits, other)
        calls: dict[str, Callable[[Any, Any], Any]] = {
            "evaluate": lambda t, s, loader=loader: pyedge.evaluate(t, loader),
            "plan": lambda t, s, loader=loader: pyedge.plan(t, 0.9, loader),
            "train": lambda t, s, loader=loader: pyedge.train(t, loader, steps=1, progress=False),
            "transfer": lambda t, s, loader=loader: pyedge.transfer(
                s, t, loader, steps=1, progress=False
            ),
        }
        for title, call in calls.items():
            teacher, student = copy.deepcopy(teachers[scale]), copy.deepcopy(students[scale])
            found = told(lambda call=call, t=teacher, s=student: call(t, s))
            if other == scale:
                assert not found
                continue
            assert found
            assert all(text.startswith(f"{title}: images have values from") for text in found)
            whose = {re.search("but (the .*?) was shown", text)[1] for text in found}
            assert whose == ({"the teacher", "the network"} if title == "transfer" else
                             {"the network"})  # fmt: skip


def test_images_of_another_scale_to_validate_on_are_warned_of_once(
    digits: ImageSet, teachers: dict[str, nn.Module]
) -> None:
    teacher = copy.deepcopy(teachers["image"])
    good, bad = (loader_of(digits, scale) for scale in ("image", "none"))
    found = told(
        lambda: pyedge.train(teacher, good, val_loader=bad, steps=4, eval_every=1, progress=False)
    )
    assert len(found) == 1
    assert found[0].startswith("train: val_loader: images have")


def test_augmented_images_and_other_pictures_are_of_the_same_scale(
    digits: ImageSet, teachers: dict[str, nn.Module]
) -> None:
    teacher = copy.deepcopy(teachers["image"])
    augment = pyedge.data.Augment(crop_padding=1, flip=False, cutout=4)
    pyedge.train(teacher, BatchLoader(digits, 64, augment=augment), steps=2, progress=False)
    pyedge.evaluate(teacher, [(torch.zeros(4, 1, 8, 8), torch.zeros(4).long())])
    pyedge.evaluate(teacher, [(torch.randn(4, 1, 8, 8), torch.zeros(4).long())])
    pyedge.evaluate(teacher, [(standardise(255 - digits.images[:1]), digits.labels[:1])])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_images_that_are_no_floats_are_refused_in_words(
    dtype: torch.dtype, digits: ImageSet, teachers: dict[str, nn.Module]
) -> None:
    loader = [(digits.images[:8].to(dtype), digits.labels[:8])]
    teacher = copy.deepcopy(teachers["image"])
    calls = {
        "train": lambda: pyedge.train(teacher, loader, steps=1, progress=False),
        "evaluate": lambda: pyedge.evaluate(teacher, loader),
        "plan": lambda: pyedge.plan(teacher, 0.9, loader),
    }
    for title, call in calls.items():
        with pytest.raises(
            TypeError, match=f"{title}: (loader: )?images .*floating point.*{dtype}"
        ):
            call()


# Knowledge


def test_knowledge_of_a_student_asks_the_teacher_about_images_as_it_was_trained_on(
    digits: ImageSet, teachers: dict[str, nn.Module], students: dict[str, Any], tmp_path: Path
) -> None:
    images = digits.images[:20]
    pack = pyedge.make_knowledge(
        teachers["none"], students["none"], images, tmp_path / "pack", progress=False
    )
    with torch.no_grad():
        wanted = teachers["none"](images.float() / 255)
    found = pack.batch(np.arange(20), 0)["logits"]
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_knowledge_warns_of_a_preprocessing_that_the_teacher_does_not_know(
    digits: ImageSet, teachers: dict[str, nn.Module], students: dict[str, Any], tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.pyedge"
    assert told(lambda: pyedge.export(students["none"], wrong, preprocessing="image"))
    images = digits.images[:20].numpy()

    def make(teacher: nn.Module, given: Any) -> Any:
        return pyedge.make_knowledge(teacher, wrong, given, tmp_path / "pack", progress=False)

    (text,) = told(lambda: make(copy.deepcopy(teachers["none"]), images))
    assert text.startswith("make_knowledge: images have values from -")
    assert "the teacher was shown others before" in text
    tapped = tap_teacher(teachers["none"], torch.zeros(1, 1, 8, 8))
    (text,) = told(lambda: make(tapped, images))
    assert "the teacher was shown others before" in text
    stranger = create("wrn_16_1", num_classes=10, in_channels=1).eval()  # of which nothing is known
    stranger.load_state_dict(teachers["none"].state_dict())
    (text,) = told(lambda: make(stranger, images))
    assert "before its export the student was shown images with values from 0 to" in text


def test_knowledge_warns_of_floats_that_the_student_does_not_take(
    digits: ImageSet, teachers: dict[str, nn.Module], students: dict[str, Any], tmp_path: Path
) -> None:
    write_student(tmp_path / "s.pyedge", pyedge.export(students["image"], tmp_path / "e.pyedge"))
    x = digits.images[:20].float() / 255

    def make() -> Any:
        teacher = create("wrn_16_1", num_classes=10, in_channels=1).eval()
        return pyedge.make_knowledge(
            teacher, tmp_path / "s.pyedge", x, tmp_path / "pack", progress=False
        )

    (text,) = told(make)
    assert text.startswith("make_knowledge: images are float32 with values from 0 to")
