"""Statistics on the command line: learn, predict --unknown, inspect, and export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyedge
from pyedge.cli import main
from pyedge.edge.learner import EdgeLearner
from pyedge.student.archive import read_student, write_student
from tests.support.edge_student import CLASSES, images, tiny_student

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Students with statistics and without, and images."""
    pixels, labels = images(300)
    write_student(tiny_student(), tmp_path / "plain.pyedge")
    write_student(pyedge.add_statistics(tiny_student(), pixels, labels), tmp_path / "s.pyedge")
    wide = pyedge.add_statistics(tiny_student(), pixels, labels, expand=16)
    write_student(wide, tmp_path / "wide.pyedge")
    pixels, labels = images(60, seed=3)
    names = np.array([*CLASSES, "mug"])[np.where(labels == 2, 3, labels)]
    np.savez(tmp_path / "mugs.npz", images=pixels, labels=names)
    np.save(tmp_path / "p.npy", pixels[:6])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, command: Run) -> Run:
    return command


def test_cli_learn_takes_the_statistics_that_there_are(run: Run, folder: Path) -> None:
    found = run("learn s.pyedge mugs.npz --add mug --val 0.2 --seed 5 --out t.pyedge")
    assert found["method"] == "statistics"
    assert found["training"]["steps"] == 0
    assert 0 <= found["training"]["history"][0]["val_calibration_error"] < 1
    learner = EdgeLearner(folder / "s.pyedge")
    learner.add_classes(["mug"])
    data = np.load(folder / "mugs.npz")
    learner.learn(data["images"], data["labels"], val=0.2, seed=5)
    written = read_student(folder / "t.pyedge")
    assert np.array_equal(written.arrays["head.weight"], learner.student.arrays["head.weight"])
    assert found["statistics"]["classes"] == {"high": 100, "low": 116, "middle": 116, "mug": 16}
    assert found["statistics"]["forgettable"] == ["mug"]


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ("plain.pyedge", "labels"),
        ("s.pyedge --epochs 10", "labels"),  # the default, but said
        ("s.pyedge --method labels", "labels"),
        ("s.pyedge --seed 3 --max-memory 200M", "statistics"),
        ("s.pyedge --method statistics", "statistics"),
    ],
)
def test_cli_learn_takes_steps_where_they_are_meant(run: Run, words: str, method: str) -> None:
    student, _, rest = words.partition(" ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyedge.edge.analytic.warn", lambda text: None)
        found = run(f"learn {student} mugs.npz --add mug {rest} --out t.pyedge")
    assert found["method"] == method
    assert (found["training"]["steps"] == 0) == (method == "statistics")


def test_cli_learn_tells_that_an_option_means_steps(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "learn s.pyedge mugs.npz --add mug --lr 0.1 --steps 2 --out t.pyedge"
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    assert "note: --steps means steps; without it s.pyedge would learn from its statistics" in err
    assert "the statistics of their features are dropped" in err
    assert out.startswith("2 steps of 60 images in 0 s, from labels alone\n")
    assert "\nno statistics: learns only by steps\n" in out


def test_cli_learn_says_what_was_learned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "learn s.pyedge mugs.npz --add mug --val 0.2 --no-forgettable --out t.pyedge"
    assert main(line.split()) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("learned from statistics: 60 images in 0.")
    assert "calibration error" in out
    assert "can be forgotten" not in out
    with pytest.raises(ValueError, match=r"pooled .*other classes"):
        EdgeLearner("t.pyedge").forget("mug")


def test_cli_predict_tells_what_is_unknown(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    pixels = np.concatenate([np.load("p.npy"), random.integers(0, 256, (60, 1, 8, 8))])
    pixels = pixels.astype(np.uint8)
    np.save("p.npy", pixels)
    found = run("predict s.pyedge p.npy --unknown")
    expected = EdgeLearner("s.pyedge").predict(pixels, unknown=True)
    assert [each["unknown"] for each in found["images"]] == expected.unknown.tolist()
    assert 0 < expected.unknown.sum() < len(pixels)
    assert [each["distance"] for each in found["images"]] == expected.distances.tolist()
    assert found["threshold"] == read_student("s.pyedge").head["threshold"]
    assert main(["predict", "s.pyedge", "p.npy", "--unknown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("  unknown  distance " in line for line in lines) == int(expected.unknown.sum())
    assert sum("  known    distance " in line for line in lines) == int((~expected.unknown).sum())
    assert "unknown" not in run("predict s.pyedge p.npy")["images"][0]


def test_cli_inspect_tells_statistics_head_and_expansion(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, found = run("inspect plain.pyedge"), run("inspect wide.pyedge")
    assert plain["statistics"] is plain["head"] is plain["expansion"] is None
    assert found["expansion"] == {"width": 16, "features": 5, "seed": 0}
    assert found["statistics"]["images"] == 300
    assert found["statistics"]["fresh"] is True
    assert found["head"] == read_student("wide.pyedge").head
    assert main(["inspect", "wide.pyedge"]) == 0
    out = capsys.readouterr().out
    assert "the classifier reads 5 features and 16 random ones of them, made from seed 0\n" in out
    assert "statistics of 300 images of 3 classes, 26 features" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learn s.pyedge mugs.npz --method statistics --lr 1 --out x", "--lr has no meaning"),
        ("learn s.pyedge mugs.npz --method transfer --out x", "needs --knowledge PACK"),
        ("learn s.pyedge mugs.npz --method labels --knowledge k --out x", "no use for --knowledge"),
        (
            "learn s.pyedge mugs.npz --method labels --no-forgettable --out x",
            "--no-forgettable has no meaning",
        ),
        ("learn s.pyedge mugs.npz --method statistic --out x", "invalid choice: 'statistic'"),
        ("learn s.pyedge mugs.npz --add mug,cup --out x", "nothing is known of cup"),
        ("learn plain.pyedge mugs.npz --add mug --method statistics --out x", "known of high"),
        ("predict plain.pyedge p.npy --unknown", "--unknown: plain.pyedge has no statistics"),
        ("export a.pt --held p.npy --out x", "--held needs --statistics"),
        ("export a.pt --seed 0 --out x", "--seed needs --statistics"),
        ("export a.pt --expand 0 --statistics p.npy --out x", "wanted a whole number from 1"),
        ("export a.pt --statistics p.npy --format onnx --out x", "no meaning for --format onnx"),
        ("export a.pt --statistics mug.npz --out x", "did you mean mugs.npz?"),
    ],
)
def test_cli_statistics_that_cannot_be_are_one_line(
    line: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert not (folder / "x").exists()
