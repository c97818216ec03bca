"""The real archives beside the repository, where they are: sizes, classes, decoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyedge.data import load_dataset, load_folder
from tests.support.paths import ROOT

DATA = ROOT.parent / "shared" / "data"


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}")
    return path


def test_real_cifar10_has_its_images():
    train, val, test = load_dataset(real("cifar10.tar.xz"))
    assert train.counts == (4500,) * 10
    assert val.counts == (500,) * 10
    assert test.counts == (1000,) * 10
    assert train.images.shape[1:] == (3, 32, 32)
    assert train.classes[:3] == ("airplane", "automobile", "bird")
    # The mean colour of CIFAR-10's training images, 0.491 0.482 0.447 of 255, is well known.
    mean = train.images[::5].float().mean((0, 2, 3)) / 255  # the set lies sorted by class
    assert mean.tolist() == pytest.approx([0.491, 0.482, 0.447], abs=0.01)


def test_real_imagenet10_has_its_images():
    with pytest.warns(UserWarning, match=r"1 of 5501 files .*: 1 \.tsv"):
        train, val, test = load_dataset(real("imagenet10.tar.xz"))
    assert train.counts == (450,) * 10
    assert val.counts == (50,) * 10
    assert test.counts == (50,) * 10
    assert train.images.shape[1:] == (3, 64, 64)


def test_real_caltech101_is_cut_to_size():
    images = load_folder(real("caltech101.tar.xz"), size=32)
    assert len(images) == 9144
    assert len(images.classes) == 102
    assert images.images.shape[1:] == (3, 32, 32)
