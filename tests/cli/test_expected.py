"""pyedge evaluate warns where a network is right far less often than its file records."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyedge import models
from pyedge.cli import main
from pyedge.cloud.network_file import load_network, save_network
from pyedge.cloud.shown import remember_preprocessing
from pyedge.data import Preprocessing
from pyedge.edge.expected import recorded_accuracy

Captured = pytest.CaptureFixture[str]


def write_photos(folder: Path, levels: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    for name, level in zip("abc", levels, strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            pixels = level + random.integers(-30, 31, (8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and a teacher that tells their brightness, which standardising hides."""
    folder = tmp_path_factory.mktemp("expected")
    write_photos(folder / "photos", (40, 110, 180))
    line = f"train {folder / 'photos'} --model wrn_10_1 --size 8 --epochs 8 --batch-size 16"
    line += f" --augment none --preprocessing imagenet --out {folder / 't.pt'} --quiet"
    assert main(line.split()) == 0
    assert recorded_accuracy(load_network(folder / "t.pt")[1].record) > 0.9
    return folder


def changed(folder: Path, **change: Any) -> Path:
    """Write the teacher with other words about it."""
    network, info = load_network(folder / "t.pt")
    remember_preprocessing(network, None)
    save_network(folder / "changed.pt", network, dataclasses.replace(info, **change))
    return folder / "changed.pt"


def said(capsys: Captured, network: Path, photos: Path) -> str:
    assert main(["evaluate", str(network), str(photos), "--part", "all"]) == 0
    return capsys.readouterr().err


def test_evaluate_says_nothing_where_all_is_as_recorded(teacher: Path, capsys: Captured) -> None:
    assert "records" not in said(capsys, teacher / "t.pt", teacher / "photos")


def test_evaluate_names_another_preprocessing(teacher: Path, capsys: Captured) -> None:
    told = said(capsys, changed(teacher, preprocessing=Preprocessing()), teacher / "photos")
    assert "likely it was trained with another preprocessing than the file's (image): with" in told
    assert told.count("preprocessing than") == 1
    assert "wanted the preprocessing" not in told
    best = told.partition("--epochs 0 --preprocessing ")[2].partition(",")[0]
    assert best in ("imagenet", "cifar10")
    # the advice works
    line = f"train {teacher / 'photos'} --model wrn_10_1 --size 8 --weights {teacher}/changed.pt"
    line += f" --epochs 0 --preprocessing {best} --out {teacher}/mended.pt"
    assert main(line.split()) == 0
    capsys.readouterr()
    assert "records" not in said(capsys, teacher / "mended.pt", teacher / "photos")
    assert recorded_accuracy(load_network(teacher / "mended.pt")[1].record) > 0.9


def test_evaluate_tries_others_beside_one_that_was_named(teacher: Path, capsys: Captured) -> None:
    mean = {"mean": [3.0] * 3, "deviation": [1.0] * 3}
    told = said(
        capsys,
        changed(teacher, preprocessing=Preprocessing.of({"kind": "channel", **mean})),
        teacher / "photos",
    )
    assert "than the file's (mean 3, 3, 3 and deviation 1, 1, 1 of each channel): with" in told
    assert "wanted the preprocessing" not in told


def test_evaluate_names_another_order_of_classes(teacher: Path, capsys: Captured) -> None:
    told = said(capsys, changed(teacher, classes=("b", "a", "c")), teacher / "photos")
    how = "likely its classes are in another order than the file says: it answers "
    assert (
        f"{how}a for b, it answers b for a" in told or f"{how}b for a, it answers a for b" in told
    )


def test_evaluate_names_several_causes_where_none_is_clear(
    teacher: Path, tmp_path: Path, capsys: Captured
) -> None:
    write_photos(tmp_path / "others", (110, 110, 110))
    told = said(capsys, teacher / "t.pt", tmp_path / "others")
    assert "these may be pictures of another kind, or cut otherwise" in told


def test_record_of_a_cut_network_promises_nothing() -> None:
    trained, cut = {"command": "train", "test_accuracy": 0.9}, {"command": "compress"}
    assert recorded_accuracy([trained]) == 0.9
    assert recorded_accuracy([trained, cut]) is None
    assert recorded_accuracy([trained, cut, {"command": "transfer", "test_accuracy": 0.5}]) == 0.5
    assert recorded_accuracy([{"command": "train", "test_accuracy": "much"}]) is None


def test_train_tells_weights_that_answer_by_chance(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(models.cifar_resnet(20, 10, 1, 4).state_dict(), "fresh.pt")
    line = "train digits --model resnet20 --width 4 --weights fresh.pt --epochs 0 --out t.pt"
    assert main([*line.split(), "--preprocessing", "image"]) == 0
    assert re.search(r"fresh\.pt: \d.* which is chance.*padding=around", capsys.readouterr().err)


def test_train_finds_published_weights_with_the_padding_that_they_want(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "train digits --model resnet20 --width 8 --option padding=around --epochs 4"
    line += " --batch-size 64 --out t.pt --quiet"
    assert main(line.split()) == 0
    network, info = load_network("t.pt")
    assert info.options["padding"] == "around"
    torch.save(network.state_dict(), "weights.pt")
    again = "train digits --model resnet20 --width 8 --weights weights.pt --epochs 0 --json"
    capsys.readouterr()
    told = []
    for option in ("behind", "around"):
        assert main([*again.split(), "--out", "a.pt", "--option", f"padding={option}"]) == 0
        told.append(json.loads(capsys.readouterr().out)["test_accuracy"])
    assert told[1] == recorded_accuracy(info.record)
    assert told[0] < told[1]
