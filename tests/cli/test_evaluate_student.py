"""`pyedge evaluate` of a device's student, with numpy alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.cli import main
from pyedge.edge.learner import EdgeLearner
from pyedge.student.archive import is_student, write_student
from tests.support.edge_student import CLASSES, images, tiny_student


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """student.pyedge, data.npz with labels, plain.npy without; the current folder."""
    write_student(tiny_student(), tmp_path / "student.pyedge")
    pixels, labels = images(60)
    np.savez(tmp_path / "data.npz", images=pixels, labels=labels)
    np.save(tmp_path / "plain.npy", pixels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], line: str) -> dict[str, Any]:
    assert main([*line.split(), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_cli_evaluate_of_a_student_is_what_the_learner_finds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "evaluate student.pyedge data.npz --threads 1 --batch-size 7")
    wanted = EdgeLearner(tiny_student()).evaluate(*images(60))
    assert found["confusion"] == wanted.confusion.tolist()
    assert found["accuracy"] == wanted.accuracy
    assert found["loss"] == pytest.approx(wanted.loss)
    assert found["classes"] == list(CLASSES)
    assert found["params"] == tiny_student().params
    assert (found["kind"], found["answers"], found["part"]) == ("student", "engine", "all")
    some = told(capsys, "evaluate student.pyedge data.npz --classes low")["selected"]
    assert some["these"] == wanted.per_class[0]
    assert some["others"] == wanted.accuracy_on([1, 2])


def test_cli_evaluate_of_a_student_prints_the_table_of_a_network(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "student.pyedge", "data.npz", "--classes", "low,high"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    wanted = EdgeLearner(tiny_student()).evaluate(*images(60))
    assert lines[0] == f"accuracy {100 * wanted.accuracy:.1f} % of 60 images (all of data.npz)"
    assert lines[1].startswith("  on low, high: ")
    assert lines[4].split("  ")[0] == "class"
    assert [line.split()[:2] for line in lines[6:]] == [[name, "20"] for name in CLASSES]
    assert err == "data.npz: 60 images, 3 classes\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("student.pyedge data.npz --model nets.py:build", "--model nets.py:build has no meaning"),
        (
            "student.pyedge data.npz --device cuda",
            "--device cuda has no meaning for",
        ),
        ("student.pyedge data.npz --part test", "--part test: data.npz has arrays"),
        ("student.pyedge data.npz --classes lwo", "did you mean low?"),
        ("student.pyedge plain.npy", "plain.npy has no labels"),
        ("student.pyedge data.npz --batch-size 0", "--batch-size"),
        ("student.pyedge dta.npz", "did you mean data.npz?"),
        ("studnt.pyedge data.npz", "did you mean student.pyedge?"),
    ],
)
def test_cli_evaluate_of_a_student_names_mistakes(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    assert main(["evaluate", *line.split()]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_cli_evaluate_of_a_damaged_student_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "student.pyedge").read_bytes()
    half = bytearray(whole)
    half[200] ^= 255
    (folder / "student.pyedge").write_bytes(half)
    assert is_student("student.pyedge")
    assert main(["evaluate", "student.pyedge", "data.npz"]) == 1
    assert "student.pyedge" in capsys.readouterr().err


def test_is_student_tells_other_files_and_none(folder: Path) -> None:
    assert is_student("student.pyedge")
    assert not is_student("data.npz")
    assert not is_student("plain.npy")
    assert not is_student("none.pyedge")
    assert not is_student(".")


def test_cli_evaluate_of_a_student_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'PIL', 'sklearn', 'rich'):\n    sys.modules[name] = None\n"
        "from pyedge.cli import main\n"
        "sys.exit(main('evaluate student.pyedge data.npz'.split()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accuracy ")
