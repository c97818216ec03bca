"""Networks of other packages by name, with stand-ins for the packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import pyedge
from pyedge import models
from pyedge.cloud.network_file import NetworkInfo, load_network, save_network
from pyedge.cloud.weights.create import create_with_weights
from pyedge.models.packages import package_of
from tests.support import fake_packages


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_packages.install_timm(monkeypatch)
    fake_packages.install_torchvision(monkeypatch)


def test_packages_networks_are_built_by_name() -> None:
    timm = models.create("timm:resnet8", num_classes=3, in_channels=1)
    assert timm(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    vision = models.create("torchvision:tiny_net", num_classes=5)
    assert vision(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert models.create("timm:resnet8.a_in1k")(torch.zeros(1, 3, 8, 8)).shape == (1, 1000)
    assert [package_of(n) for n in ("timm:x", "torchvision.models:x", "wrn", "a.py:f")] == [
        "timm",
        *[None] * 3,
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("timm:resnet9", "^create: name: wanted one of the 3 classifiers in timm 1.0, got "
         "'resnet9'; the nearest are resnet8"),
        ("timm:resnet8.c_in1k", "got 'resnet8.c_in1k'; the nearest are resnet8"),
        ("timm:hf-hub:a/b", "got 'hf-hub:a/b'$"),
        ("torchvision:tinynet", "the 1 classifiers in torchvision .* the nearest are tiny_net$"),
    ],
)  # fmt: skip
def test_packages_unknown_name_gets_the_nearest(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        models.create(name)


def test_packages_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("timm", "torchvision"):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"{package}.models", raising=False)
        with pytest.raises(ImportError, match=rf'pip install "pyedge\[{package}\]"'):
            models.create(f"{package}:x")


def test_packages_that_break_are_told_from_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator nms does not exist')")
    with pytest.raises(ImportError, match=r"is installed, but .* operator nms does not exist"):
        models.create("timm:resnet8")
    (tmp_path / "timm.py").write_text("import another_package_of_nobody")
    with pytest.raises(ImportError, match=r"is installed, but .*another_package_of_nobody"):
        models.create("timm:resnet8")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"pretrained": True}, ValueError, "^timm:resnet8: pretrained: wanted a network without"),
        ({"checkpoint_path": "x"}, ValueError, "checkpoint_path: wanted a network without"),
        ({"fails": True}, ValueError, "^timm:resnet8: KeyError: 'out of range'$"),
        ({"depths": 3}, TypeError, "depths"),
    ],
)
def test_packages_options_are_refused(options: dict, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        models.create("timm:resnet8", **options)


def test_packages_network_comes_back_from_its_file_without_the_users_code(tmp_path: Path) -> None:
    options = {"num_classes": 3, "width": 6}
    model = models.create("timm:resnet8", **options)
    info = NetworkInfo(
        builder="timm:resnet8", options=options, classes=("a", "b", "c"), input_shape=(3, 8, 8)
    )
    assert not info.own_code
    save_network(tmp_path / "t.pt", model, info)
    again, _ = load_network(tmp_path / "t.pt")
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(again(x), model.eval()(x))
    content = torch.load(tmp_path / "t.pt", weights_only=True)
    torch.save({**content, "options": {**options, "pretrained": True}}, tmp_path / "false.pt")
    with pytest.raises(pyedge.FormatError, match="pretrained: wanted a network without"):
        load_network(tmp_path / "false.pt")


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("ending", ["pth", "pt", "safetensors"])
def test_create_with_weights_finds_the_classes(tmp_path: Path, ending: str, prefix: str) -> None:
    torch.manual_seed(0)
    made = models.create("timm:resnet8", num_classes=7)
    state = {prefix + name: value for name, value in made.state_dict().items()}
    path = tmp_path / f"w.{ending}"
    save_file(state, path) if ending == "safetensors" else torch.save(state, path)
    model = create_with_weights("timm:resnet8", path)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(model.eval()(x), made.eval()(x))
    assert create_with_weights("timm:resnet8", path, num_classes=7)(x).shape == (2, 7)
    with pytest.raises(ValueError, match=r"num_classes: wanted 7, as .*, got 10$"):
        create_with_weights("timm:resnet8", path, num_classes=10)


def test_create_with_weights_wants_a_classifier(tmp_path: Path) -> None:
    state = models.create("resnet20", num_classes=2).state_dict()
    torch.save({n: v for n, v in state.items() if "classifier" not in n}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="wanted weights with a classifier, got none"):
        create_with_weights("resnet20", tmp_path / "w.pt")
