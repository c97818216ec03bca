"""pyedge.evaluate warns where a network of a file is right far less often than the file records."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import pyedge
from pyedge.cloud.network_file import NetworkInfo, load_network, save_network
from pyedge.data import BatchLoader, ImageSet


class Brightness(nn.Module):
    """Right on `bright_images`, whose pixels go from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(1, 2)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.tensor([[-1.0], [1.0]]))
            self.classifier.bias.copy_(torch.tensor([0.5, -0.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(x.mean((1, 2, 3))[:, None])


def bright_images(names: tuple[str, str] = ("dark", "light")) -> ImageSet:
    labels = torch.arange(60) % 2
    pixels = (60 + 130 * labels)[:, None, None, None].expand(60, 3, 4, 4)
    return ImageSet(pixels.to(torch.uint8).contiguous(), labels, names)


def of(images: ImageSet) -> BatchLoader:
    return BatchLoader(images, 16, shuffle=False, preprocessing="none")


@pytest.fixture
def network(tmp_path: Path) -> nn.Module:
    info = NetworkInfo(
        builder="own.py:build",
        options={},
        classes=("dark", "light"),
        input_shape=(3, 4, 4),
        record=({"command": "train", "test_accuracy": 1.0},),
    )
    save_network(tmp_path / "t.pt", Brightness().eval(), info)
    return load_network(tmp_path / "t.pt", build=Brightness)[0]


def test_evaluate_says_nothing_of_a_network_that_is_as_good_as_its_file(network: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pyedge.evaluate(network, of(bright_images())).accuracy == 1


def test_evaluate_warns_of_other_pictures(network: nn.Module) -> None:
    images = bright_images()
    odd = ImageSet(images.images // 8, images.labels, images.classes)
    with pytest.warns(UserWarning, match=r"t\.pt records 100.0% right .* 50.0% of these 60 images"):
        pyedge.evaluate(copy.deepcopy(network), of(odd))


def test_evaluate_names_the_order_of_classes(network: nn.Module) -> None:
    images = bright_images(("light", "dark"))
    turned = ImageSet(images.images, 1 - images.labels, images.classes)
    with pytest.warns(UserWarning, match="order .* light for dark, it answers dark for light"):
        pyedge.evaluate(network, [(x, y) for x, y in of(turned)])


def test_evaluate_promises_nothing_of_weights_that_learned_since(network: nn.Module) -> None:
    with torch.no_grad():
        network.classifier.weight.neg_()
        network.classifier.bias.neg_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pyedge.evaluate(network, of(bright_images())).accuracy == 0
