"""Weights that do not match, or not for certain, are refused with both sides shown."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyedge.cli import main
from pyedge.cloud.weights.load import load_weights
from pyedge.errors import FormatError
from pyedge.models import create
from tests.support.weights_case import (
    TORCHVISION,
    cifar,
    downsampled,
    lively,
    prefixed,
    renamed,
    same,
)

State = dict[str, Tensor]


def refusal(content: Any, path: Path, model: nn.Module) -> str:
    """Return the message with which a file is refused; the network stays what it is."""
    torch.save(content, path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FormatError, match=r"w: ") as raised:
        load_weights(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return str(raised.value)


def table(message: str) -> list[list[str]]:
    """Return the rows of the table in a message."""
    lines = message.split("\n\n", 1)[1].splitlines()
    assert lines[0].split() == ["the", "network's", "shape", "the", "file's", "shape"]
    return [line.split() for line in lines[2:]]


def test_deeper_network_does_not_pass_for_a_shallow_one(tmp_path: Path) -> None:
    """All names of ResNet-14 are in ResNet-20, with the same shapes."""
    for content in (
        cifar(depth=20).state_dict(),
        renamed(cifar(depth=20).state_dict(), *TORCHVISION),
    ):
        message = refusal(content, tmp_path / "w", cifar(1))
        assert "the file has 30 tensors that this network of 67 does not have" in message
        assert table(message)[0][:2] == ["none", "-"]
        assert table(message)[0][2].endswith((".0.2.conv1.weight", "layer1.2.conv1.weight"))
        assert table(message)[0][3] == "8x8x3x3"


def test_shallow_network_does_not_pass_for_a_deeper_one(tmp_path: Path) -> None:
    message = refusal(cifar().state_dict(), tmp_path / "w", cifar(1, depth=20))
    assert "30 of the network's 97 tensors do not match" in message
    assert table(message)[0] == ["groups.0.2.conv1.weight", "8x8x3x3", "none", "-"]
    assert len(table(message)) == 13
    assert message.endswith("... and 18 more rows")


def test_other_widths_are_shown_side_by_side(tmp_path: Path) -> None:
    message = refusal(cifar(width=16).state_dict(), tmp_path / "w", cifar(1))
    assert table(message)[0] == ["stem.weight", "8x3x3x3", "stem.weight", "16x3x3x3"]
    state = prefixed("module.", renamed(cifar(width=16).state_dict(), *TORCHVISION))
    message = refusal({"net": state}, tmp_path / "w", cifar(1))
    assert ["stem.weight", "8x3x3x3", "net.module.conv1.weight", "16x3x3x3"] in table(message)


def test_grey_network_and_colour_weights_are_named(tmp_path: Path) -> None:
    message = refusal(cifar().state_dict(), tmp_path / "w", cifar(1, in_channels=1))
    assert "1 of the network's 67 tensors do not match" in message
    assert "the file's first layer takes images of 3 channels, here of 1" in message
    assert table(message) == [["stem.weight", "8x1x3x3", "stem.weight", "8x3x3x3"]]


def test_first_layers_of_other_images_are_named(tmp_path: Path) -> None:
    """torchvision's file for a network for small images."""
    options = {"num_classes": 5, "width": 8}
    theirs = lively(create("resnet18", **options))
    state = downsampled(renamed(theirs.state_dict(), *TORCHVISION))
    message = refusal(state, tmp_path / "w", create("resnet18", small_input=True, **options))
    assert "the first layer looks at 7x7 pixels in the file and at 3x3 here (small_input" in message


@pytest.mark.parametrize("leaf", ["running_mean", "running_var", "weight"])
def test_batch_norms_are_not_left_as_they_are(tmp_path: Path, leaf: str) -> None:
    """As where parameters alone were saved: without statistics the network is another."""
    state = {n: v for n, v in cifar().state_dict().items() if not n.endswith(f"bn1.{leaf}")}
    message = refusal(state, tmp_path / "w", cifar(1))
    assert "6 of the network's 67 tensors do not match" in message
    assert table(message)[0] == [f"groups.0.0.bn1.{leaf}", "8", "none", "-"]


def test_unknown_parts_of_known_layers_are_refused(tmp_path: Path) -> None:
    """A quantising network's scales, a bias: without them the layer gives other answers."""
    for extra in ("groups.0.0.conv1.alpha", "groups.1.0.conv2.bias", "groups.0.0.relu1.weight"):
        message = refusal({**cifar().state_dict(), extra: torch.ones(8)}, tmp_path / "w", cifar(1))
        assert table(message) == [["none", "-", extra, "8"]]


def test_nothing_in_common_shows_both_from_the_first_difference(tmp_path: Path) -> None:
    state = lively(create("vgg11", num_classes=3, width=8, input_size=32)).state_dict()
    message = refusal(state, tmp_path / "w", cifar(1))
    assert "neither names nor order and shapes agree" in message
    assert table(message)[0] == ["stem.weight", "8x3x3x3", "features.0.weight", "8x3x3x3"]
    assert table(message)[1] == ["bn.weight", "8", "features.0.bias", "8"]


class Post(nn.Module):
    """A residual block that is told in which order to make its layers."""

    def __init__(self, c: int, order: tuple[str, ...]) -> None:
        super().__init__()
        made: dict[str, Callable[[], nn.Module]] = {
            "conv1": lambda: nn.Conv2d(c, c, 1, bias=False),
            "bn1": lambda: nn.BatchNorm2d(c),
            "conv2": lambda: nn.Conv2d(c, c, 1, bias=False),
            "bn2": lambda: nn.BatchNorm2d(c),
            "downsample": lambda: nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)),
        }
        for name in order:
            self.add_module(name, made[name]())

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.downsample(x)).relu()


class Net(nn.Module):
    """Two such blocks and a classifier, under names of one's own."""

    def __init__(self, order: tuple[str, ...], names: tuple[str, str, str]) -> None:
        super().__init__()
        first, second, self.last = names
        self.body = names[:2]
        self.add_module(first, Post(3, order))
        self.add_module(second, Post(3, order))
        self.add_module(self.last, nn.Linear(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.body:
            x = self.get_submodule(name)(x)
        return self.get_submodule(self.last)(x.mean((2, 3)))


STRAIGHT = ("conv1", "bn1", "conv2", "bn2", "downsample")
MINE, THEIRS = ("one", "two", "answer"), ("block_a", "block_b", "out")


def test_layers_in_the_same_order_are_taken(tmp_path: Path) -> None:
    theirs, mine = lively(Net(STRAIGHT, THEIRS)), lively(Net(STRAIGHT, MINE), 1)
    torch.save(theirs.state_dict(), tmp_path / "w")
    with pytest.warns(
        UserWarning, match=r"13 layers, one\.conv1 from block_a\.conv1, .*, answer from out"
    ):
        load_weights(mine, tmp_path / "w")
    assert same(mine, theirs)


@pytest.mark.parametrize(
    "order",
    [
        ("downsample", "conv1", "bn1", "conv2", "bn2"),
        ("conv1", "bn1", "downsample", "conv2", "bn2"),
        ("conv2", "bn2", "conv1", "bn1", "downsample"),
        ("conv1", "bn2", "conv2", "bn1", "downsample"),
        ("conv1", "conv2", "bn1", "bn2", "downsample"),
        ("bn1", "conv1", "bn2", "conv2", "downsample"),
    ],
)
def test_layers_in_another_order_are_refused(tmp_path: Path, order: tuple[str, ...]) -> None:
    """All of these have the same shapes, and most of them the same kinds in the same places."""
    message = refusal(lively(Net(order, THEIRS)).state_dict(), tmp_path / "w", Net(STRAIGHT, MINE))
    assert "block_a.conv1.weight" in message


def test_layers_before_their_norms_do_not_pass_for_layers_after_them(tmp_path: Path) -> None:
    """A pre-activation network of the same shapes has conv, (bn, conv) twice, ..., bn."""
    mine = cifar(1)
    state: State = {"first.weight": mine.state_dict()["stem.weight"]}
    sizes = [8] * 4 + [16] * 4 + [32] * 4
    inside = 8
    for place, size in enumerate(sizes):
        block, unit = divmod(place, 2)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"b{block}.n{unit}.{leaf}"] = torch.ones(inside)
        state[f"b{block}.c{unit}.weight"] = torch.ones(size, inside, 3, 3)
        inside = size
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        state[f"final.{leaf}"] = torch.ones(32)
    state |= {"answer.weight": torch.ones(4, 32), "answer.bias": torch.ones(4)}
    shapes = [tuple(v.shape) for v in state.values()]
    wanted = [tuple(v.shape) for n, v in mine.state_dict().items() if "tracked" not in n]
    assert shapes == wanted
    message = refusal(state, tmp_path / "w", mine)
    assert "layers lie together in modules that do not lie together here" in message


def test_names_that_were_sorted_are_refused(tmp_path: Path) -> None:
    """unit_10 before unit_2: the order is that of letters, and all shapes are equal."""

    def chain(name: str) -> nn.Sequential:
        made = nn.Sequential()
        for i in range(12):
            made.add_module(f"{name}_{i}", nn.Conv2d(4, 4, 1))
        return made.append(nn.Linear(4, 2))

    theirs = chain("unit").state_dict()
    last = {name: theirs.pop(name) for name in list(theirs) if name.startswith("12")}
    content = {**dict(sorted(theirs.items())), **last}
    message = refusal(content, tmp_path / "w", chain("layer"))
    assert "unit_2 comes after unit_11" in message or "unit_10" in message
    torch.save({**theirs, **last}, tmp_path / "w")
    with pytest.warns(UserWarning, match="the order is the same"):
        load_weights(chain("layer"), tmp_path / "w")


def test_cli_shows_what_did_not_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(create("wrn_16_1", num_classes=10).state_dict(), "w.pth")
    line = "train digits --model wrn_16_1 --weights w.pth --epochs 0 --out t.pt"
    code = main(line.split())
    err = capsys.readouterr().err
    assert code == 1
    assert "the file's first layer takes images of 3 channels, here of 1" in err
    assert "\nstem.weight    16x1x3x3  stem.weight  16x3x3x3\n" in err
    assert not (tmp_path / "t.pt").exists()


def test_warnings_of_loading_are_none_for_plain_weights(tmp_path: Path) -> None:
    torch.save({"state_dict": prefixed("module.", cifar().state_dict())}, tmp_path / "w")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_weights(cifar(1), tmp_path / "w")


@pytest.mark.parametrize(
    ("leaf", "shape", "words"),
    [
        ("weight", (32, 4), r"weight is 4x32 here and 32x4 in the file, classifier\.bias is 4 "),
        ("bias", (1, 4), r"bias is 4 here and 1x4 in the file"),
        ("bias", (), r"bias is 4 here and one number in the file"),
        ("bias", None, r"bias is 4 here and not in the file"),
        ("weight", None, r"weight is 4x32 here and not in the file"),
    ],
)
def test_half_a_classifier_is_not_taken(
    tmp_path: Path, leaf: str, shape: tuple[int, ...] | None, words: str
) -> None:
    theirs, mine = cifar(), cifar(1)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    for pairs in ((), TORCHVISION):
        state = dict(theirs.state_dict())
        value = state.pop(f"classifier.{leaf}")
        if shape is not None:
            state[f"classifier.{leaf}"] = (
                value.flatten()[:1].reshape(()) if shape == () else (value.reshape(shape))
            )
        torch.save(renamed(state, *pairs), tmp_path / "w")
        with pytest.warns(UserWarning, match=rf"classifier starts afresh: .*{words}"):
            found = load_weights(mine, tmp_path / "w")
        assert found.afresh == ("classifier.bias", "classifier.weight")
        for name in found.afresh:
            assert torch.equal(mine.state_dict()[name], before[name])
