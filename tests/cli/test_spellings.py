"""Options and orders of the version before: they work once more, and a note says what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyedge
from pyedge.cli import main
from pyedge.cli.parsing import Parser, UsageError
from tests.support.edge_student import CLASSES, images, tiny_student

Told = Callable[[str], tuple[dict[str, Any], list[str]]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pixels, labels = images(60)
    pyedge.write_student(tiny_student(), tmp_path / "plain.pyedge")
    described = pyedge.add_statistics(tiny_student(), pixels, labels)
    pyedge.write_student(described, tmp_path / "s.pyedge")
    np.savez(tmp_path / "new.npz", images=pixels, labels=np.array(CLASSES)[labels])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a command line; return its JSON and the notes of old names."""

    def run(line: str) -> tuple[dict[str, Any], list[str]]:
        assert main([*line.split(), "--json"]) == 0
        out, err = capsys.readouterr()
        return json.loads(out), [line for line in err.splitlines() if "is called" in line]

    return run


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [
        ("inspect plain.pyedge {}=5", "--batch", "--batch-size"),
        (
            "learn plain.pyedge new.npz --steps 2 --memory {name}.memory {} 3 --out {name}.pyedge",
            "--keep",
            "--per-class",
        ),
        ("learn s.pyedge new.npz {} --out {name}.pyedge", "--pooled", "--no-forgettable"),
    ],
)
def test_cli_takes_an_option_under_its_old_name(
    told: Told, folder: Path, line: str, old: str, new: str
) -> None:
    found, notes = told(line.format(old, name="old"))
    again, none = told(line.format(new, name="new"))
    assert notes == [f"note: {old} is called {new} now; the old name goes with pyedge 0.2"]
    assert none == []
    for each in (found, again):
        for key in ("out", "training", "record"):
            each.pop(key, None)
        if isinstance(each.get("memory"), dict):
            each["memory"].pop("path", None)
    assert found == again
    if (folder / "old.pyedge").exists():
        one, two = (logits_of(folder / f"{name}.pyedge") for name in ("old", "new"))
        assert np.array_equal(one, two)


def logits_of(path: Path) -> Any:
    return pyedge.EdgeLearner(path).logits(images(8)[0])


def test_parser_leaves_what_stands_behind_two_dashes() -> None:
    parser = Parser("p", "")
    parser.rename("--old", "--new")
    parser.add_argument("--new")
    parser.add_argument("words", nargs="*")
    found = parser.parse_args(["--old", "1", "--", "--old"])
    assert (found.new, found.words, len(found.notes)) == ("1", ["--old"], 1)
    assert found.given == {"new", "words"}
    with pytest.raises(UsageError, match="no option is named --oldest"):
        parser.parse_args(["--oldest"])
