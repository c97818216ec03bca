"""--resize, --crop, --interpolation and --colour, from the teacher to the device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pyedge
from pyedge.cli import main, networks
from pyedge.cloud.network_file import load_network
from pyedge.data import Preprocessing
from pyedge.images.resize import Resize
from pyedge.student.archive import read_student
from tests.support import fake_packages

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with photos of three brightnesses, of two sizes."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for label, name in enumerate("abc"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(20):
            h, w = (24, 30) if i % 2 else (36, 27)
            pixels = 40 + 70 * label + random.integers(-30, 31, (h, w, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photos"


def answer(capsys: Captured, line: str) -> dict:
    assert main([*line.split(), "--json", "--quiet"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def logits_of(path: Path, resize: tuple[int, int], size: int, network: torch.nn.Module) -> Any:
    """The probabilities of a photo as torchvision's transforms would give it."""
    image = Image.open(path)
    w, h = image.size
    image = image.resize(resize if w > h else resize[::-1], Image.Resampling.BICUBIC)
    w, h = image.size
    left, top = round((w - size) / 2), round((h - size) / 2)
    x = np.asarray(image).astype(np.float32)[top : top + size, left : left + size] / 255
    x = (x - np.float32(0.5)) / np.float32(0.25)
    with torch.no_grad():
        return network(torch.from_numpy(x.transpose(2, 0, 1)[None]).float()).softmax(1)[0]


def test_sizes_go_from_the_teacher_to_the_device(photos: Path, capsys: Captured) -> None:
    options = "--size 16 --resize 20 --interpolation bicubic"
    options += " --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25"
    net = "--model wrn_10_1 --epochs 8 --batch-size 16 --augment none"
    told = answer(capsys, f"train photos {net} {options} --out t.pt")
    assert told["test_accuracy"] > 0.9
    _, info = load_network("t.pt")
    how = Preprocessing("channel", (0.5,) * 3, (0.25,) * 3, Resize(16, 20, "bicubic"))
    assert info.preprocessing == how
    assert answer(capsys, "evaluate t.pt photos")["accuracy"] == told["test_accuracy"]
    answer(capsys, "plan t.pt photos")
    answer(capsys, "compress t.pt photos --P 1 --out s.pt")
    answer(capsys, "transfer s.pt --teacher t.pt photos --epochs 6 --augment none --out r.pt")
    assert answer(capsys, "evaluate r.pt photos")["accuracy"] > 0.9
    answer(capsys, "export r.pt --out s.pyedge")
    assert Preprocessing.of(read_student("s.pyedge").preprocessing) == how
    assert main(["inspect", "s.pyedge"]) == 0
    assert "16 of a shorter side of 20 (bicubic)" in capsys.readouterr().out
    student, _ = load_network("r.pt")
    wide, tall = photos / "a" / "1.png", photos / "b" / "2.png"
    sizes = {wide: (25, 20), tall: (26, 20)}
    found = answer(capsys, f"predict s.pyedge {wide} {tall}")["images"]
    learner = pyedge.EdgeLearner("s.pyedge")
    for path, each in zip((wide, tall), found, strict=True):
        wanted = logits_of(path, sizes[path], 16, student)
        np.testing.assert_allclose(each["probabilities"], wanted, atol=1e-5)
        for given in (str(path), [path], Image.open(path)):
            got = learner.predict(given).probabilities[0]
            np.testing.assert_allclose(got, wanted, atol=1e-5)
    answer(capsys, "knowledge s.pyedge --teacher t.pt photos --part all --out k.pack")
    told = answer(
        capsys, "learn s.pyedge photos --knowledge k.pack --no-labels --steps 2 --out l.pyedge"
    )
    assert pyedge.Knowledge("k.pack").locate(photos).tolist() == list(range(60))
    assert Preprocessing.of(read_student("l.pyedge").preprocessing) == how


def test_export_takes_numbers_and_keeps_the_sizes(capsys: Captured) -> None:
    net = "--model wrn_10_1 --epochs 1 --augment none --size 16 --resize 20"
    answer(capsys, f"train photos {net} --out t.pt")
    answer(capsys, "compress t.pt photos --P 1 --out s.pt")
    numbers = "--mean 0.5,0.4,0.3 --std 0.25,0.2,0.3"
    assert main(f"export s.pt {numbers} --out s.pyedge".split()) == 0
    assert "0.25, 0.2, 0.3, 16 of a shorter side of 20 (bilinear)\n" in capsys.readouterr().out
    wanted = Preprocessing("channel", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), Resize(16, 20))
    assert Preprocessing.of(read_student("s.pyedge").preprocessing) == wanted
    for options, says in (
        ("--mean 0.5,0.5,0.5", "--mean and --std go together"),
        ("--mean 0.5 --std 0.5", "wanted 3 numbers in mean"),
        (f"{numbers} --format onnx", "--mean has no meaning for --format onnx"),
    ):
        assert main(f"export s.pt {options} --out x.pyedge".split()) == 2
        assert says in capsys.readouterr().err
    assert not Path("x.pyedge").exists()


def test_colours_become_grey_everywhere(capsys: Captured) -> None:
    net = "--model wrn_10_1 --epochs 8 --batch-size 16 --augment none --preprocessing none"
    told = answer(capsys, f"train photos {net} --size 16 --crop 0.8 --colour grey --out t.pt")
    assert told["input_shape"] == [1, 16, 16]
    assert told["test_accuracy"] > 0.9
    _, info = load_network("t.pt")
    assert info.preprocessing == Preprocessing("none", resize=Resize(16, 20), colour="grey")
    assert answer(capsys, "evaluate t.pt photos")["accuracy"] == told["test_accuracy"]
    answer(capsys, "compress t.pt photos --P 1 --out s.pt")
    answer(capsys, "export s.pt --out s.pyedge")
    assert len(answer(capsys, "predict s.pyedge photos")["images"]) == 60


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--resize 20", "--crop-mode and --interpolation need --size"),
        ("--size 16 --resize 20 --crop 0.8", "--resize and --crop say the same"),
        ("--size 16 --resize 12", "--resize: shorter: wanted 16 to 16384 pixels, got 12"),
        ("--size 16 --crop 1.2", "--crop: wanted a number above 0 to 1, got '1.2'"),
        ("--size 16 --interpolation cubic", "invalid choice: 'cubic'"),
        ("--size 16 --colour gray", "invalid choice: 'gray'"),
        ("--size 16 --colour grey --preprocessing imagenet", "wanted 1 numbers in mean"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(capsys: Captured, options: str, says: str) -> None:
    assert main(f"train photos {options} --epochs 1 --out t.pt".split()) == 2
    assert says in capsys.readouterr().err
    assert not Path("t.pt").exists()


def test_network_of_timm_brings_its_preprocessing(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    fake_packages.install_timm(monkeypatch)
    line = "train photos --model timm:resnet8 --epochs 1 --batch-size 16 --out t.pt"
    own = Preprocessing("channel", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), Resize(16, 20, "bicubic"))
    for options, wanted in (
        ("", own),
        ("--size 16", own),
        ("--size 24", Preprocessing("channel", own.mean, own.deviation)),
        ("--size 24 --crop 0.75", Preprocessing("channel", own.mean, own.deviation,
         Resize(24, 32, "bicubic"))),
        ("--preprocessing imagenet", Preprocessing.of("imagenet").with_sizes_of(own)),
    ):  # fmt: skip
        assert answer(capsys, f"{line} {options}")["input_shape"][1] in (16, 24)
        assert load_network("t.pt")[1].preprocessing == wanted, options


def test_network_leaves_images_with_a_size_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    fake_packages.install_timm(monkeypatch)
    line = "train digits --model timm:resnet8 --colour rgb --epochs 1 --out t.pt"
    assert answer(capsys, line)["input_shape"] == [3, 8, 8]
    how = Preprocessing("channel", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), colour="rgb")
    assert load_network("t.pt")[1].preprocessing == how
    assert answer(capsys, f"{line} --size 16")["input_shape"] == [3, 16, 16]
    answer(capsys, "evaluate t.pt digits")


def test_network_of_torchvision_brings_that_of_its_first_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_packages.install_torchvision(monkeypatch)
    wanted = Preprocessing("channel", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), Resize(16, 18))
    assert networks.preprocessing_of("torchvision:tiny_net") == wanted
    assert networks.preprocessing_of("wrn_small") is None


def test_network_of_timm_for_other_images_says_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    fake_packages.install_timm(monkeypatch, crop_mode="squish")
    line = "train photos --model timm:resnet8 --epochs 1 --batch-size 16 --size 16 --out t.pt"
    assert main(line.split()) == 0
    assert "crop_mode: wanted center, squash, border, got 'squish'" in capsys.readouterr().err
    assert load_network("t.pt")[1].preprocessing == Preprocessing()
    fake_packages.install_timm(monkeypatch)
    assert main(f"{line} --colour grey".split()) == 0
    assert "of 3 channels, and images have 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ("--size 16x24 --crop-mode squash", Resize((16, 24), (16, 24), mode="squash")),
        (
            "--size 16 --crop 0.8 --crop-mode border --mean 0.5,0.25,1 --std 1,1,1",
            Resize(16, 20, mode="border", fill=(128, 64, 255)),
        ),
        ("--size 24x16", Resize((24, 16), (24, 16))),
    ],
)
def test_sizes_of_other_crops_go_from_the_teacher_to_the_device(
    options: str, how: Resize, photos: Path, capsys: Captured
) -> None:
    net = "--model wrn_10_1 --steps 2 --batch-size 16 --augment none"
    answer(capsys, f"train photos {net} {options} --out t.pt")
    assert load_network("t.pt")[1].input_shape == (3, *how.sides)
    answer(capsys, "compress t.pt photos --P 1 --out s.pt")
    answer(capsys, "export s.pt --out s.pyedge")
    assert Preprocessing.of(read_student("s.pyedge").preprocessing).resize == how
    torchs, engines = (answer(capsys, f"evaluate s.{end} photos") for end in ("pt", "pyedge"))
    assert torchs["confusion"] == engines["confusion"]
    assert torchs["loss"] == pytest.approx(engines["loss"], abs=1e-4)


@pytest.mark.parametrize("size", ["7", "16x", "16x7", "x", "16x16x16", "a"])
def test_sizes_that_are_none_are_refused(size: str, capsys: Captured) -> None:
    assert main(["train", "photos", "--size", size, "--out", "t.pt"]) == 2
    assert f"wanted a whole number from 8, or two as 192x256, got '{size}'" in (
        capsys.readouterr().err
    )
