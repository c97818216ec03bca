"""`pyedge learn --memory`: a file that is replayed, grows, and is whole whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge import Memory, read_memory, read_student, write_student
from pyedge.cli import main
from tests.support.edge_student import CLASSES, images, tiny_student

Run = Callable[[str], dict[str, Any]]
LEARN = "learn student.pyedge new.npz --steps 4 --batch-size 12 --memory kept.memory"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pixels, labels = images(60)
    write_student(tiny_student(), tmp_path / "student.pyedge")
    for name, mine in (("old", labels < 2), ("new", labels == 2)):
        named = np.array(CLASSES)[labels[mine]]
        np.savez(tmp_path / f"{name}.npz", images=pixels[mine], labels=named)
    memory = Memory(4)
    memory.add(tiny_student(), pixels[labels < 2], labels[labels < 2])
    memory.save(tmp_path / "kept.memory")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, command: Run) -> Run:
    return command


def test_cli_memory_is_replayed_and_takes_what_was_learned(run: Run, folder: Path) -> None:
    found = run(f"{LEARN} --out taught.pyedge")
    assert found["memory"]["path"] == "kept.memory"
    assert found["memory"]["images"] == {"high": 4, "low": 4, "middle": 4}
    assert read_memory(folder / "kept.memory").counts == found["memory"]["images"]
    assert read_student(folder / "taught.pyedge").record[-1]["memory"] == 8


def test_cli_memory_is_made_and_bounded(run: Run, folder: Path) -> None:
    found = run("learn student.pyedge old.npz --steps 2 --memory first.memory --out a.pyedge")
    assert found["memory"]["images"] == {"low": 20, "middle": 20}
    assert "memory" not in read_student(folder / "a.pyedge").record[-1]
    found = run(
        "learn a.pyedge new.npz --steps 2 --memory first.memory --per-class 3 --out b.pyedge"
        " --val 0.5"
    )
    assert found["memory"]["images"] == {"high": 3, "low": 3, "middle": 3}
    memory = read_memory(folder / "first.memory")
    assert memory.per_class == 3
    assert memory.seen["high"] == 10  # the other half was validated on
    assert run("learn a.pyedge new.npz --steps 2 --out c.pyedge")["memory"] is None


def test_cli_memory_is_as_it_was_until_the_student_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    before = (folder / "kept.memory").read_bytes()
    whole = run(f"{LEARN} --out whole.pyedge")
    after = (folder / "kept.memory").read_bytes()
    (folder / "kept.memory").write_bytes(before)
    with monkeypatch.context() as patch:

        def killed(*arguments: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr("pyedge.edge.learner.EdgeLearner.save", killed)
        assert main([*LEARN.split(), "--quiet", "--out", "halves.pyedge"]) == 130
    assert (folder / "kept.memory").read_bytes() == before
    assert (folder / "halves.pyedge.checkpoint").exists()
    found = run(f"{LEARN} --out halves.pyedge --resume")
    assert (folder / "halves.pyedge").read_bytes() == (folder / "whole.pyedge").read_bytes()
    assert (folder / "kept.memory").read_bytes() == after
    assert found["memory"] == whole["memory"]


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        (
            2,
            "learn student.pyedge new.npz --per-class 3 --out x.pyedge",
            "--per-class needs --memory",
        ),
        (2, "learn student.pyedge new.npz --memory . --out x.pyedge", "is a folder"),
        (2, "learn student.pyedge new.npz --memory x.pyedge --out x.pyedge", "the file of --out"),
        (2, "learn student.pyedge new.npz --memory new.npz --out x.pyedge", "the file of DATA"),
        (2, "learn student.pyedge new.npz --memory student.pyedge --out x.pyedge", "of STUDENT"),
        (2, "learn student.pyedge new.npz --memory no/x --out x.pyedge", "cannot be written"),
        (1, "learn student.pyedge new.npz --memory old.npz --out x.pyedge", "not a memory"),
        (
            2,
            "learn student.pyedge new.npz --no-labels --knowledge . --memory m --out x.pyedge",
            "without labels none can be made",
        ),
        (2, f"{LEARN} --batch-size 1 --out x.pyedge", "memory needs 2 images in a batch"),
    ],
)
def test_cli_memory_failures_are_one_line_and_write_nothing(
    code: int, line: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(line.split()) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
