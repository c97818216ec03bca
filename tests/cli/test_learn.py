"""`pyedge learn` and `pyedge predict`: on arrays and on folders, as a device runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.cli import main
from pyedge.edge.learner import EdgeLearner
from pyedge.student.archive import read_student, write_student
from tests.support.edge_student import CLASSES, changed, images, tiny_student

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student, arrays of images, and the current folder."""
    write_student(tiny_student(), tmp_path / "student.pyedge")
    pixels, labels = images(60)
    names = np.array([*CLASSES, "mug"])
    labels = np.where(labels == 2, 3, labels)
    np.savez(tmp_path / "mugs.npz", images=pixels, labels=names[labels])
    np.savez(tmp_path / "data.npz", images=images()[0], labels=images()[1])
    np.save(tmp_path / "plain.npy", pixels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(line: str) -> dict[str, Any]:
        assert main([*line.split(), "--json", "--quiet"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out)

    return run


def test_cli_learn_teaches_a_new_class_and_predict_knows_it(run: Run, folder: Path) -> None:
    found = run(
        "learn student.pyedge mugs.npz --add mug --epochs 15 --batch-size 16 --lr 0.1 --val 0.2 "
        "--out taught.pyedge"
    )
    assert found["classes"] == [*CLASSES, "mug"]
    assert found["added"] == ["mug"]
    assert found["images"] == 60
    history = found["training"]["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(row["val_accuracy"] for row in history) > 0.9
    assert found["memory_bytes"] > 10_000
    assert not (folder / "taught.pyedge.checkpoint").exists()
    assert len(changed(tiny_student(), read_student(folder / "student.pyedge"))) == 0
    told = run("predict taught.pyedge plain.npy")
    mugs = [answer["class"] == "mug" for answer in told["images"]]
    assert np.mean(mugs[2::3]) > 0.9
    assert told["images"][0]["image"] == "plain.npy[0]"
    assert sum(told["images"][0]["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_cli_learn_does_what_the_learner_does(run: Run, folder: Path) -> None:
    run("learn student.pyedge data.npz --steps 7 --batch-size 16 --trainable classifier "
        "--augment crop,flip --optimizer adam --seed 3 --out taught.pyedge")  # fmt: skip
    learner = EdgeLearner(tiny_student())
    learner.learn(
        *images(), steps=7, batch_size=16, trainable="classifier", optimizer="adam", lr=0.001,
        crop_padding=1, flip=True, seed=3,
    )  # fmt: skip
    taught = read_student(folder / "taught.pyedge")
    assert changed(tiny_student(), taught) == {"head.weight", "head.bias"}
    assert not changed(learner.student, taught)


def test_cli_learn_interrupted_resumes_to_the_same_bits(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "learn student.pyedge data.npz --epochs 4 --batch-size 16 --val data.npz --quiet"
    run(f"{line} --out whole.pyedge")
    calls: list[int] = []

    def interrupting(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pyedge.cli.console.EvaluationLog.add", interrupting)
        assert main([*line.split(), "--out", "halves.pyedge"]) == 130
    assert capsys.readouterr().err == (
        "pyedge learn: interrupted; the same command with --resume goes on\n"
    )
    assert (folder / "halves.pyedge.checkpoint").exists()
    assert not (folder / "halves.pyedge").exists()
    run(f"{line} --out halves.pyedge --resume")
    assert (folder / "halves.pyedge").read_bytes() == (folder / "whole.pyedge").read_bytes()
    assert not (folder / "halves.pyedge.checkpoint").exists()


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        (2, "learn studnt.pyedge data.npz --out x.pyedge", "did you mean student.pyedge?"),
        (2, "learn student.pt data.npz --out x.pyedge", "pyedge export makes a student file"),
        (1, "learn data.npz data.npz --out x.pyedge", "data.npz: "),
        (2, "learn student.pyedge data.npz --out student.pyedge", "would replace student.pyedge"),
        (2, "learn student.pyedge plain.npy --out x.pyedge", "plain.npy has no labels"),
        (2, "learn student.pyedge mugs.npz --out x.pyedge", "--add mug adds them"),
        (2, "learn student.pyedge data.npz --no-labels --out x.pyedge", "without --knowledge"),
        (2, "learn student.pyedge data.npz --patience 2 --out x.pyedge", "--patience needs --val"),
        (2, "learn student.pyedge data.npz --val 1.5 --out x.pyedge", "between 0 and 1"),
        (2, "learn student.pyedge data.npz --add low --out x.pyedge", "knows 'low' already"),
        (2, "learn student.pyedge data.npz --trainable stem --out x.pyedge", "no layer 'stem'"),
        (2, "learn student.pyedge data.npz --max-memory 1k --out x.pyedge", "hold no batch of 1"),
        (1, "learn student.pyedge data.npz --lr 1e30 --steps 9 --eval-every 9 --out x.pyedge",
         "was not finite at step"),
        (1, "learn student.pyedge data.npz --knowledge . --out x.pyedge", "manifest.json"),
        (2, "predict student.pyedge nowhere.jpg", "nowhere.jpg: no such file"),
        (1, "predict student.pyedge student.pyedge", "student.pyedge: "),
    ],
)  # fmt: skip
def test_cli_learn_failures_are_one_line_and_write_nothing(
    code: int, line: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(line.split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith(f"pyedge {line.split()[0]}: error: ")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_cli_learn_and_predict_work_on_folders_of_images(run: Run, folder: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels, labels = images(30)
    for i, (each, label) in enumerate(zip(pixels, labels, strict=True)):
        (folder / "photos" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        image.fromarray(each[0]).save(folder / "photos" / CLASSES[label] / f"{i}.png")
    found = run("learn student.pyedge photos --epochs 2 --out taught.pyedge")
    assert found["images"] == 30
    part = run("learn student.pyedge photos --only-classes high --epochs 2 --out part.pyedge")
    assert part["images"] == 10
    told = run("predict taught.pyedge photos photos/low/0.png --top 2")
    assert len(told["images"]) == 31
    assert told["images"][-1]["image"] == "photos/low/0.png"
    by_name = {answer["image"]: answer for answer in told["images"]}
    learner = EdgeLearner(folder / "taught.pyedge")
    expected = learner.predict(pixels)
    for i, label in enumerate(labels):
        answer = by_name[f"photos/{CLASSES[label]}/{i}.png"]
        assert answer["id"] == expected.ids[i]
        assert answer["probability"] == pytest.approx(float(expected.probabilities[i].max()), 1e-4)


def test_cli_learn_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['PIL'] = None\n"
        "from pyedge.cli import main\n"
        "words = 'learn student.pyedge data.npz --steps 2 --quiet --out t.pyedge'.split()\n"
        "assert main(words) == 0\n"
        "assert main(['predict', 't.pyedge', 'plain.npy']) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("plain.npy[59]  ")


@pytest.mark.parametrize("data", ["data.npz", "mugs.npz"])
def test_cli_learn_tells_of_a_new_class_that_no_image_has(
    folder: Path, capsys: pytest.CaptureFixture[str], data: str
) -> None:
    line = f"learn student.pyedge {data} --add mug,cup --steps 1 --out taught.pyedge --json"
    assert main(line.split()) == 0
    lacking = "mug, cup" if data == "data.npz" else "cup"
    assert f"note: no image of {data} is of {lacking}: nothing of it" in capsys.readouterr().err
