"""Network files of version 1, as they were written then, are opened, and saved as version 2."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pyedge
from pyedge import models
from pyedge.cli import main
from pyedge.cloud.network_file import (
    NetworkInfo,
    OwnCodeError,
    StudentSettings,
    load_network,
    read_network,
    save_network,
)
from pyedge.student.archive import read_student

Image = pytest.importorskip("PIL.Image")

FOLDER = Path(__file__).parent / "networks_v1"
NAMES = sorted(path.stem for path in FOLDER.glob("*.pt"))
STUDENTS = [name for name in NAMES if name != "teacher"]


def opened(name: str) -> tuple[nn.Module, NetworkInfo]:
    build: Callable[..., nn.Module] | None = models.wrn if name == "own" else None
    return load_network(FOLDER / f"{name}.pt", build=build)


def answered(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return torch.from_numpy(file["images"]), torch.from_numpy(file["logits"])


def content_of(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_network_files_of_version_1_are_all_here() -> None:
    assert len(NAMES) == 7
    for name in NAMES:
        content = content_of(FOLDER / f"{name}.pt")
        assert content["version"] == 1
        assert "cut" not in content
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 250_000


@pytest.mark.parametrize("name", NAMES)
def test_network_file_of_version_1_answers_as_it_did(name: str) -> None:
    model, info = opened(name)
    images, wanted = answered(name)
    assert info.kind == ("teacher" if name == "teacher" else "student")
    assert info.classes == ("cat", "dog", "mug")
    with torch.no_grad():
        # another processor adds up in another order
        torch.testing.assert_close(model(images), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_network_file_of_version_1_is_saved_again_as_version_2(name: str, tmp_path: Path) -> None:
    model, info = opened(name)
    save_network(tmp_path / "n.pt", model, info)
    content = content_of(tmp_path / "n.pt")
    assert content["version"] == 2
    assert (content["cut"] is None) == (name == "teacher")
    again, told = load_network(tmp_path / "n.pt")  # own code is no longer needed
    assert told == info
    images, _ = answered(name)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    save_network(tmp_path / "again.pt", again, told)
    assert (tmp_path / "again.pt").read_bytes() == (tmp_path / "n.pt").read_bytes()


def test_network_file_of_version_1_of_own_code_asks_for_it() -> None:
    with pytest.raises(OwnCodeError, match=r"built by own\.py:build, code that is not in the file"):
        load_network(FOLDER / "own.pt")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher and a student of photos in files of both versions, and photos."""
    options = {"depth": 10, "widths": [4, 6, 8], "stem": 4, "num_classes": 3}
    torch.manual_seed(0)
    teacher = models.create("wrn", **options).eval()
    plan = pyedge.plan(teacher, 0.5, torch.randn(16, 3, 8, 8))
    info = NetworkInfo(
        builder="wrn", options=options, classes=("cat", "dog", "mug"), input_shape=(3, 8, 8)
    )
    save_network(tmp_path / "teacher2.pt", teacher, info)
    info = dataclasses.replace(info, student=StudentSettings.of(plan))
    save_network(tmp_path / "wrn2.pt", plan.build(), info)
    for name in ("teacher", "wrn"):
        content = content_of(tmp_path / f"{name}2.pt")
        del content["cut"]
        torch.save({**content, "version": 1}, tmp_path / f"{name}1.pt")
    random = np.random.default_rng(0)
    for name in ("cat", "dog", "mug"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for place in range(12):
            pixels = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{place}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cli_takes_network_files_of_both_versions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for version in (1, 2):
        assert main(["evaluate", f"wrn{version}.pt", "photos", "--json"]) == 0
        told.append(capsys.readouterr().out.replace(f"wrn{version}", "wrn"))
        assert main(["export", f"wrn{version}.pt", "--out", f"{version}.pyedge"]) == 0
        line = f"transfer wrn{version}.pt --teacher teacher{version}.pt photos --epochs 1 --quiet"
        assert main([*line.split(), "--out", f"taught{version}.pt"]) == 0
        capsys.readouterr()
    assert told[0] == told[1]
    one, two = (read_student(folder / f"{version}.pyedge") for version in (1, 2))
    assert one.nodes == two.nodes
    assert all(np.array_equal(one.arrays[name], two.arrays[name]) for name in two.arrays)
    # what comes out is of version 2, and the same
    taught = [read_network(folder / f"taught{version}.pt")[1] for version in (1, 2)]
    assert taught[0].keys() == taught[1].keys()
    assert all(torch.equal(taught[0][name], taught[1][name]) for name in taught[0])
    assert content_of(folder / "taught1.pt")["version"] == 2
    assert content_of(folder / "taught1.pt")["cut"] is not None
