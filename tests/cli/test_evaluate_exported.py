"""`pyedge evaluate` of a network and of its exported student: the same images, the same answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyedge.cli import main
from pyedge.cli.evaluate_student import split_seed
from pyedge.student.archive import read_student

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos of three classes, split by seed 5; student.pt, and student.pyedge made of it."""
    folder = tmp_path_factory.mktemp("exported")
    random = np.random.default_rng(0)
    for name, level in (("a", 60), ("b", 110), ("c", 160)):
        for i in range(25):
            file = folder / "photos" / name / f"{i:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = level + random.integers(-60, 60, (11, 10, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in (
            "train photos --model wrn_10_1 --size 8 --epochs 2 --batch-size 16 --split-seed 5 "
            "--preprocessing imagenet --out teacher.pt",
            "compress teacher.pt photos --P 0.9 --out student.pt",
            "export student.pt --out student.pyedge",
        ):
            assert main([*line.split(), "--quiet"]) == 0
    return folder


def told(capsys: Captured, line: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*line.split(), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("part", ["test", "val", "train", "all"])
def test_cli_evaluate_student_sees_the_images_that_the_network_sees(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.chdir(folder)
    network, student = (
        told(capsys, f"evaluate student.{end} photos --part {part}") for end in ("pt", "pyedge")
    )
    assert network["confusion"] == student["confusion"]
    # of other images the mean loss would be another; float32 sums differ in their order
    assert student["loss"] == pytest.approx(network["loss"], abs=1e-4)
    assert (network["answers"], student["answers"]) == ("torch", "engine")
    assert {*network} == {*student}
    assert split_seed(read_student("student.pyedge").record) == 5


def test_cli_evaluate_student_on_split_folders_and_a_folder_of_its_own(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        for name in ("a", "c"):
            shutil.copytree(folder / "photos" / name, tmp_path / "parted" / split / name)
    student = folder / "student.pyedge"
    for data, part in (("parted", "test"), ("parted/test", "all"), ("parted", "val")):
        counts = [
            told(capsys, f"evaluate {folder}/student.{end} {data} --part {part}")["confusion"]
            for end in ("pt", "pyedge")
        ]
        assert counts[0] == counts[1]
        assert sum(map(sum, counts[1])) == {"test": 50, "all": 50, "val": 6}[part]
    assert main(["evaluate", str(student), str(tmp_path / "parted" / "train")]) == 0
    shutil.rmtree(tmp_path / "parted" / "train")
    capsys.readouterr()
    assert main(["evaluate", str(student), "parted", "--splits", "yes"]) == 1
    assert "parted: wanted train/ and test/, or class folders, got test/ only" in (
        capsys.readouterr().err
    )


def test_cli_evaluate_student_refuses_classes_that_it_does_not_know(
    folder: Path, capsys: Captured, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for name, found in (("a", "a"), ("zebra", "b")):
        (tmp_path / "photos" / name).symlink_to(folder / "photos" / found)
    assert main(["evaluate", str(folder / "student.pyedge"), str(tmp_path / "photos")]) == 2
    assert "the student knows no class zebra" in capsys.readouterr().err


def test_cli_evaluate_student_takes_digits_with_the_readers_of_the_cloud(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for line in (
        "train digits --model wrn_10_1 --epochs 1 --split-seed 3 --out teacher.pt",
        "compress teacher.pt digits --P 0.9 --out student.pt",
        "export student.pt --out student.pyedge",
    ):
        assert main([*line.split(), "--quiet"]) == 0
    found = [told(capsys, f"evaluate student.{end} digits") for end in ("pt", "pyedge")]
    assert found[0]["confusion"] == found[1]["confusion"]
    assert found[1]["count"] == 359
