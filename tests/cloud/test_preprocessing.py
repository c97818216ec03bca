"""Preprocessing goes with a network: from the loader to the teacher, the student and the device."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pyedge
from pyedge import models
from pyedge.cli import main
from pyedge.cloud.network_file import NetworkInfo, StudentSettings, load_network, save_network
from pyedge.cloud.shown import preprocessing_of
from pyedge.data import BatchLoader, ImageSet
from pyedge.images.preprocessing import Preprocessing
from pyedge.images.resize import Resize
from pyedge.student.archive import read_student

OPTIONS = {"depth": 10, "widths": [6, 8, 10], "stem": 4, "num_classes": 3, "in_channels": 3}
NAMES = ["a", "b", "c"]
IMAGENET = Preprocessing.of("imagenet")


def image_set(count: int = 24) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 3, NAMES)


def loader(preprocessing: object = "imagenet") -> BatchLoader:
    return BatchLoader(image_set(), 8, preprocessing=preprocessing)  # type: ignore[arg-type]


def teacher() -> torch.nn.Module:
    torch.manual_seed(0)
    return models.create("wrn", **OPTIONS)


def test_preprocessing_loader_gives_what_it_says() -> None:
    plain = BatchLoader(image_set(), 24, shuffle=False, preprocessing="imagenet")
    images, _ = next(iter(plain))
    np.testing.assert_array_equal(images.numpy(), IMAGENET.apply(image_set().images.numpy()))
    with pytest.raises(ValueError, match=r"^BatchLoader: preprocessing .* 3 numbers in mean"):
        loader({"kind": "channel", "mean": [0.5], "deviation": [0.5]})


def test_preprocessing_goes_from_loader_to_teacher_student_and_device(tmp_path: Path) -> None:
    network = teacher()
    pyedge.train(network, loader(), steps=2, progress=False)
    assert preprocessing_of(network) == IMAGENET
    info = NetworkInfo(builder="wrn", options=OPTIONS, classes=tuple(NAMES), input_shape=(3, 8, 8))
    save_network(tmp_path / "t.pt", network, info)
    network, info = load_network(tmp_path / "t.pt")
    assert info.preprocessing == preprocessing_of(network) == IMAGENET
    plan = pyedge.plan(network, 0.5, loader())
    student = plan.build()
    assert preprocessing_of(student) == IMAGENET
    pyedge.transfer(student, network, loader(), steps=2, progress=False)
    about = dataclasses.replace(info, student=StudentSettings.of(plan))
    save_network(tmp_path / "s.pt", student, about)
    student, _ = load_network(tmp_path / "s.pt")
    file = pyedge.export(student, tmp_path / "s.pyedge", classes=NAMES, input_shape=(3, 8, 8))
    assert Preprocessing.of(file.preprocessing) == IMAGENET
    # the device answers pixels as torch answers preprocessed ones
    pixels = image_set(6).images
    learner = pyedge.EdgeLearner(tmp_path / "s.pyedge")
    with torch.no_grad():
        wanted = student(torch.from_numpy(IMAGENET.apply(pixels.numpy()))).softmax(1)
    got = learner.predict(pixels.numpy()).probabilities
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_sizes_of_a_teacher_stay_where_a_loader_says_none(tmp_path: Path) -> None:
    """Images that a caller has cut to the network's size come from the same preprocessing."""
    sized = dataclasses.replace(IMAGENET, resize=Resize(8, 10, "bicubic"))
    info = NetworkInfo(
        builder="wrn",
        options=OPTIONS,
        classes=tuple(NAMES),
        input_shape=(3, 8, 8),
        preprocessing=sized,
    )
    save_network(tmp_path / "t.pt", teacher(), info)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, info = load_network(tmp_path / "t.pt")
        assert info.preprocessing == preprocessing_of(network) == sized
        pyedge.evaluate(network, loader())
        plan = pyedge.plan(network, 0.5, loader())
        student = plan.build()
        pyedge.transfer(student, network, loader(), steps=1, progress=False)
        assert preprocessing_of(student) == sized
        about = dataclasses.replace(info, student=StudentSettings.of(plan))
        save_network(tmp_path / "s.pt", student, about)
        file = pyedge.export(
            student, tmp_path / "s.pyedge", preprocessing="imagenet", input_shape=(3, 8, 8)
        )
    assert Preprocessing.of(file.preprocessing) == sized
    assert Preprocessing.of(read_student(tmp_path / "s.pyedge").preprocessing) == sized
    with pytest.raises(ValueError, match="save_network: preprocessing: resize: size: wanted 9x9"):
        save_network(tmp_path / "x.pt", network, dataclasses.replace(info, input_shape=(3, 9, 9)))


@pytest.mark.parametrize("function", ["plan", "evaluate", "train", "transfer"])
def test_preprocessing_of_another_loader_is_warned_of_once(function: str) -> None:
    network = teacher()
    pyedge.train(network, loader(), steps=1, progress=False)
    student = pyedge.plan(network, 0.5, loader()).build()

    def call() -> None:
        other = loader("cifar10")
        if function == "plan":
            pyedge.plan(network, 0.5, other)
        elif function == "evaluate":
            pyedge.evaluate(network, other)
        elif function == "train":
            pyedge.train(network, other, steps=1, progress=False)
        else:
            pyedge.transfer(student, network, other, steps=1, progress=False)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
    said = [str(each.message) for each in told if "preprocessing" in str(each.message)]
    assert said
    assert all("imagenet, got cifar10" in each for each in said)


def test_preprocessing_of_validation_must_be_that_of_training() -> None:
    with pytest.raises(ValueError, match=r"val: wanted .* imagenet, got image$"):
        pyedge.train(teacher(), loader(), val=loader("image"), steps=1, progress=False)


def test_preprocessing_of_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    info = NetworkInfo(builder="wrn", options=OPTIONS, classes=tuple(NAMES), input_shape=(3, 8, 8))
    save_network(tmp_path / "t.pt", teacher(), info)
    content = torch.load(tmp_path / "t.pt", weights_only=True)
    assert content["preprocessing"] == {"kind": "image", "mean": [], "deviation": []}
    for false in ("imagenet", {"kind": "channel", "mean": [0.5], "deviation": [0.5]}, None):
        torch.save({**content, "preprocessing": false}, tmp_path / "false.pt")
        with pytest.raises(pyedge.FormatError, match="preprocessing"):
            load_network(tmp_path / "false.pt")
    number = {"size": 8, "shorter": 9}
    for more in (
        {"resize": {**number, "size": 7}},
        {"resize": 8},
        {"colour": "grey"},
        {"sizes": number},
    ):
        torch.save({**content, "preprocessing": {"kind": "none", **more}}, tmp_path / "false.pt")
        with pytest.raises(pyedge.FormatError, match="preprocessing"):
            load_network(tmp_path / "false.pt")
    # as files of before say it
    torch.save({**content, "preprocessing": "per-image standardisation"}, tmp_path / "old.pt")
    assert load_network(tmp_path / "old.pt")[1].preprocessing == Preprocessing()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Classes that differ in nothing but their brightness, which standardising takes away."""
    random = np.random.default_rng(0)
    for label, brightness in enumerate((40, 110, 180)):
        for i in range(40):
            pixels = brightness + random.integers(-30, 31, (8, 8, 3))
            path = tmp_path / "photos" / NAMES[label] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path


def test_preprocessing_on_the_command_line_from_weights_to_device(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos)

    warned = ""

    def run(line: str) -> dict:
        nonlocal warned
        assert main([*line.split(), "--json"]) == 0
        out, warned = capsys.readouterr()
        return json.loads(out)

    net = "--model wrn_10_1 --size 8 --augment none"
    told = run(f"train photos {net} --epochs 8 --preprocessing imagenet --out t.pt")
    assert told["test_accuracy"] > 0.9
    torch.save(load_network(photos / "t.pt")[0].state_dict(), photos / "weights.pt")
    # weights tell nothing of their images; labelled ones do
    lost = run(f"train photos {net} --weights weights.pt --epochs 0 --out lost.pt")
    assert "with --preprocessing imagenet" in warned or "with --preprocessing cifar10" in warned
    assert lost["test_accuracy"] < 0.7
    numbers = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
    again = run(f"train photos {net} --weights weights.pt --epochs 0 {numbers} --out again.pt")
    assert again["test_accuracy"] == told["test_accuracy"]
    assert "preprocessing" not in warned
    assert run("evaluate again.pt photos")["accuracy"] == told["test_accuracy"]
    run("compress again.pt photos --P 0.5 --out s.pt")
    run("transfer s.pt --teacher again.pt photos --epochs 12 --augment none --out trained.pt")
    right = run("evaluate trained.pt photos")["accuracy"]
    assert right > 0.9
    run("export trained.pt --out s.pyedge")
    assert Preprocessing.of(read_student(photos / "s.pyedge").preprocessing) == IMAGENET


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--mean 0.5,0.5,0.5", "--mean and --std go together"),
        ("--preprocessing image --mean 0.5 --std 0.5", "--mean and --std go together"),
        ("--mean 0.5 --std 0.5", "wanted 3 numbers in mean"),
        ("--mean 0.5,0.5,0.5 --std 0.5,0.5,0", "wanted numbers above 0"),
    ],
)
def test_preprocessing_options_that_do_not_fit_are_refused(
    photos: Path, capsys: pytest.CaptureFixture[str], options: str, says: str
) -> None:
    line = f"train {photos / 'photos'} --size 8 --epochs 1 {options} --out {photos / 'x.pt'}"
    assert main(line.split()) == 2
    assert says in capsys.readouterr().err
    assert not (photos / "x.pt").exists()
