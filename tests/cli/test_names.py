"""Names of classes on the command line: commas, quotes, files, and hints that can be pasted."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyedge.cli import main, names
from pyedge.cli.parsing import UsageError
from pyedge.student.archive import read_student, write_student
from tests.support.edge_student import CLASSES, images, tiny_student

TENCH = "tench, Tinca tinca"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_student(tiny_student(), tmp_path / "s.pyedge")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def labelled(path: str, *classes: str) -> None:
    pixels, _ = images(4 * len(classes))
    np.savez(path, images=pixels, labels=np.array(classes * 4))


def learn(*words: str) -> int:
    return main(["learn", "s.pyedge", "new.npz", "--steps", "1", "--out", "t.pyedge", *words])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cat,dog", ["cat", "dog"]),
        (" cat , golden retriever ,", ["cat", "golden retriever"]),
        ('"tench, Tinca tinca",cat', [TENCH, "cat"]),
        (r"tench\, Tinca tinca,cat", [TENCH, "cat"]),
        (r'cat, "a \"b\" \\ c"', ["cat", r'a "b" \ c']),
        ("men's shoes,'tis", ["men's shoes", "'tis"]),
        ('5" screen,cat', ['5" screen', "cat"]),
        ('" a "', [" a "]),
        (r"a\b", [r"a\b"]),
        ("a\\", ["a\\"]),
        (r"\@x", ["@x"]),
    ],
)
def test_cli_names_are_read_with_commas_quotes_and_backslashes(
    text: str, wanted: list[str]
) -> None:
    assert names.split(text, "--add") == wanted


@pytest.mark.parametrize("text", ['"cat', '"cat" dog', 'a,"b'])
def test_cli_names_with_half_a_quotation_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r'--add: .*names .*comma.* "a, b"'):
        names.split(text, "--add")


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1))
def test_cli_names_written_are_read_again_by_a_shell_and_by_us(wanted: list[str]) -> None:
    words = shlex.split(names.written("--add", wanted))
    text = words[1] if len(words) == 2 else words[0].removeprefix("--add=")
    assert names.split(text, "--add") == wanted
    assert names.chosen([text], (), "--add") == wanted


def test_cli_names_that_are_a_class_as_a_whole_are_that_class() -> None:
    known = [TENCH, "tench", "Tinca tinca", "@home", "caf\u00e9"]
    assert names.chosen([TENCH, " @home"], known, "--add") == [TENCH, "@home"]
    assert names.chosen(["tench,@home"], known, "--add") == ["tench", "@home"]
    assert names.chosen(["cafe\u0301"], known, "--add") == ["caf\u00e9"]
    assert names.ids(["tench", TENCH, "tench"], known, "--classes") == [0, 1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (TENCH.lower(), rf"named 'tench' \(did you mean '\"{TENCH}\"'\?\)"),
        ("tench", rf"named 'tench' \(did you mean '\"{TENCH}\"'\?\)"),
        ("Cat", r"named 'Cat' \(did you mean cat\?\)"),
        ("cat\u200b", r"named 'cat\\u200b' \(did you mean cat\?\)"),
    ],
)
def test_cli_names_that_are_no_class_hint_at_the_one_that_was_meant(
    value: str, message: str
) -> None:
    with pytest.raises(UsageError, match=f"--classes: no class is {message}.*there are 2 classes"):
        names.ids([value], [TENCH, "cat"], "--classes")


@pytest.mark.parametrize(
    "data",
    [
        b"cat\ntench, Tinca tinca\n",
        b"cat\r\ntench, Tinca tinca\r\n\r\n",
        b"\xef\xbb\xbfcat\ntench, Tinca tinca",
        "cat\ntench, Tinca tinca\n".encode("utf-16"),
        b"cat\rtench, Tinca tinca\r  \r",
    ],
)
def test_cli_names_of_a_file_are_its_lines(data: bytes, folder: Path) -> None:
    (folder / "names.txt").write_bytes(data)
    assert names.chosen(["@names.txt", "mug"], (), "--add") == ["cat", TENCH, "mug"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cat\nGr\xf6\xdfe\n", r"names.txt, line 2: not UTF-8 \(byte 0xf6\); save"),
        (b"cat\n\ndog\n", "names.txt, line 2: empty"),
        (b"\n \n", "names.txt: no names in it"),
        (None, "names.txt: no such file"),
    ],
)
def test_cli_names_of_a_bad_file_are_refused_with_the_line(
    data: bytes | None, message: str, folder: Path
) -> None:
    if data is not None:
        (folder / "names.txt").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        names.chosen(["@names.txt"], (), "--add")


@pytest.mark.parametrize("words", [[TENCH], [f'"{TENCH}"'], [TENCH.replace(",", "\\,")]])
def test_cli_names_with_a_comma_are_learned_however_they_are_written(
    words: list[str], folder: Path
) -> None:
    labelled("new.npz", TENCH)
    assert learn("--add", *words) == 0
    assert read_student("t.pyedge").classes == (*CLASSES, TENCH)


def test_cli_learn_suggests_a_command_that_works_when_pasted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ["-x", TENCH, 'a "b"', "it's", "@home", "$HOME"]
    labelled("new.npz", *new)
    assert learn() == 2
    said = capsys.readouterr().err
    pasted = said[said.rindex("--add") : said.rindex(" adds them")]
    assert learn(*shlex.split(pasted)) == 0
    assert set(read_student("t.pyedge").classes) == {*CLASSES, *new}


def test_cli_learn_tells_of_a_class_that_is_nearly_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled("new.npz", "Low", "high")
    assert learn() == 2
    assert "'low' is there, and is not 'Low'" in capsys.readouterr().err
    assert learn("--add", "mug ,low") == 2
    assert "knows 'low' already" in capsys.readouterr().err
    assert learn("--add", '"mug "') == 2
    assert "'mug ', has a blank at an end" in capsys.readouterr().err
    assert not (folder / "t.pyedge").exists()


def test_cli_names_are_whole_in_json_files_and_records(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = [TENCH, "Größe", "猫", "<b>"]
    labelled("new.npz", *new, "low")
    (folder / "names.txt").write_text("\n".join(new), encoding="utf-8")
    assert learn("--add", "@names.txt", "--only-classes", TENCH, "--only-classes", "猫,low",
                 "--json", "--quiet") == 0  # fmt: skip
    out = capsys.readouterr().out
    assert out.isascii()
    told = json.loads(out)
    assert told["added"] == new
    assert told["classes"] == [*CLASSES, *new]
    assert told["images"] == 12
    assert main(["inspect", "t.pyedge", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["classes"] == [*CLASSES, *new]
    assert found["record"][0] == {"command": "add_classes", "classes": new}
    assert main(["inspect", "t.pyedge"]) == 0
    assert f"low, middle, high, '{TENCH}', Größe, 猫, <b>" in capsys.readouterr().out
