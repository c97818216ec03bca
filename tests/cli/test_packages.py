"""`--model timm:NAME` and `--weights` on the command line, with stand-ins for the packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from pyedge import models
from pyedge.cli import main
from pyedge.cloud.network_file import load_network
from tests.support import fake_packages

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with three classes of coloured noise, 20x16 pixels."""
    fake_packages.install_timm(monkeypatch)
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for channel, name in enumerate("abc"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = random.integers(0, 120, (16, 20, 3))
            pixels[..., channel] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")


def answer(capsys: Captured, line: str) -> dict:
    assert main([*line.split(), "--json", "--quiet"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys: Captured, line: str, code: int = 2) -> str:
    assert main(line.split()) == code
    return capsys.readouterr().err


def test_packages_network_goes_from_weights_to_the_device(tmp_path: Path, capsys: Captured) -> None:
    net = "--model timm:resnet8 --size 16 --preprocessing none"
    told = answer(capsys, f"train photos {net} --epochs 8 --batch-size 8 --augment none --out t.pt")
    assert told["test_accuracy"] > 0.9
    assert told["model"]["builder"] == "timm:resnet8"
    network, _ = load_network("t.pt")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    line = f"train photos {net} --weights w.safetensors --epochs 0 --out again.pt"
    assert answer(capsys, line)["test_accuracy"] == told["test_accuracy"]
    assert answer(capsys, "evaluate again.pt photos")["accuracy"] == told["test_accuracy"]
    answer(capsys, "compress again.pt photos --P 1 --out s.pt")
    answer(capsys, "export s.pt --out s.pyedge")
    assert len(answer(capsys, "predict s.pyedge photos/a")["images"]) == 20


def test_packages_mistyped_and_missing_names(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    fake_packages.install_torchvision(monkeypatch)
    line = "train photos --size 16 --out t.pt --model"
    assert "the nearest are resnet8" in refused(capsys, f"{line} timm:resnet9")
    assert "got 'tinynet'; the nearest are tiny_net" in refused(
        capsys, f"{line} torchvision:tinynet"
    )
    wrong = refused(capsys, f"{line} timm:resnet8 --option depths=3")
    assert "timm:resnet8" in wrong
    assert "depths" in wrong
    assert "(did you mean torchvision?)" in refused(capsys, f"{line} torchvison:tiny_net")
    assert "(did you mean timm?)" in refused(capsys, f"{line} tim:resnet8")
    weights = refused(capsys, f"{line} timm:resnet8 --weights photo")
    assert "photo: no such file or folder (did you mean photos?)" in weights
    assert "timm:NAME" in refused(capsys, f"{line} resnet8")
    monkeypatch.setitem(sys.modules, "timm", None)
    missing = refused(capsys, f"{line} timm:resnet8", code=1)
    assert 'timm, which is not installed: pip install "pyedge[timm]"' in missing


def test_weights_of_other_classes_are_refused_where_nothing_trains(
    tmp_path: Path, capsys: Captured
) -> None:
    save_file(models.create("timm:resnet8", num_classes=7).state_dict(), tmp_path / "w.safetensors")
    line = "train photos --model timm:resnet8 --size 16 --weights w.safetensors --out t.pt"
    told = refused(capsys, f"{line} --epochs 0")
    assert "wanted a classifier of 3 classes" in told
    assert "got one of 7" in told
    assert not (tmp_path / "t.pt").exists()
    assert main(f"{line} --epochs 1".split()) == 0
    assert "2 start afresh: classifier.bias, classifier.weight" in capsys.readouterr().err
