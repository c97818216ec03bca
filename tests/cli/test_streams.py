"""The command's output in any encoding, to streams that are closed, full, or left by a reader."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.cli import main
from pyedge.cli.console import Console
from pyedge.cli.streams import any_streams, visible
from pyedge.cloud.tables import text_table, width
from pyedge.edge.progress import ProgressBar
from pyedge.student.archive import read_student, write_student
from tests.support.edge_student import images, tiny_student

CLASSES = ("Größe", "猫", "tench, Tinca tinca")
RUN = "import sys; from pyedge.cli import main; sys.exit(main())"
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams")
    write_student(dataclasses.replace(tiny_student(), classes=CLASSES), path / "s.pyedge")
    np.save(path / "ä.npy", images(3)[0])
    np.savez(path / "data.npz", images=images(6)[0], labels=images(6)[1])
    return path


def run(folder: Path, *words: str, shell: str = "", **environment: str) -> Any:
    """Run a command; `shell` is what a shell appends to it, such as a redirection."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {shell}', "bash", sys.executable, "-c", RUN, *words],
        capture_output=True,
        cwd=folder,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


ENCODINGS = [
    "ascii",
    "utf-8",
    "cp037",
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)
        for name in ("latin-1", "cp1252", "utf-16", "ascii:surrogateescape")
    ),
]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cli_streams_predict_tells_its_result_in_any_encoding(encoding: str, folder: Path) -> None:
    done = run(folder, "predict", "s.pyedge", "ä.npy", "--top", "3", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    name = encoding.partition(":")[0]
    text = done.stdout.decode(name)
    lines = text.splitlines()
    assert len(lines) == 3
    path, cat = (each.encode(name, "backslashreplace").decode(name) for each in ("ä.npy[0]", "猫"))
    assert lines[0].startswith(f"{path}  ")
    assert f"{cat} " in text
    assert "'tench, Tinca tinca' " in text


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_cli_streams_evaluate_tells_its_table_in_any_encoding(encoding: str, folder: Path) -> None:
    done = run(
        *(folder, "evaluate", "s.pyedge", "data.npz", "--quiet", "--classes", "Größe"),
        PYTHONIOENCODING=encoding,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    table = text.partition("most often taken for")[2].splitlines()[2:]
    size, cat = (each.encode(encoding, "backslashreplace").decode(encoding) for each in CLASSES[:2])
    assert [line.split("  ")[0] for line in table] == [size, cat, "'tench, Tinca tinca'"]
    assert f"on {size}: " in text


@pytest.mark.parametrize("encoding", [*ENCODINGS, "ascii:replace"])
def test_cli_streams_json_is_ascii_in_any_encoding(encoding: str, folder: Path) -> None:
    done = run(folder, "predict", "s.pyedge", "ä.npy", "--json", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout.decode("ascii"))
    assert told["classes"] == list(CLASSES)
    assert told["images"][0]["image"] == "ä.npy[0]"


def test_cli_streams_an_error_handler_of_the_users_stays(folder: Path) -> None:
    done = run(folder, "inspect", "s.pyedge", PYTHONIOENCODING="ascii:replace")
    assert done.returncode == 0
    assert b"3 classes: Gr??e, ?, 'tench, Tinca tinca'" in done.stdout


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_cli_streams_a_locale_without_letters_will_do(utf8: str, folder: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0"}
    done = run(
        folder, "learn", "s.pyedge", "data.npz", "--steps", "1", "--out", "ö.pyedge", **plain
    )
    assert done.returncode == 0, done.stderr
    assert read_student(folder / "ö.pyedge").classes == CLASSES
    assert b"written to" in done.stdout


def test_cli_streams_a_path_that_is_not_utf8_is_told(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.npy")
    np.save(folder / name, images(2)[0])
    done = run(folder, "predict", "s.pyedge", name)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"caf\\udce9.npy[0]  ")
    done = run(folder, "predict", "s.pyedge", name, "--json")
    assert json.loads(done.stdout)["images"][1]["image"] == f"{name}[1]"
    done = run(folder, "predict", "s.pyedge", os.fsdecode(b"n\xe9.npy"), PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr.startswith(b"pyedge predict: error: n\\udce9.npy: no such file")


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-", ">&- 2>&- <&-", "2>/dev/full"])
def test_cli_streams_work_is_done_whatever_is_closed(shell: str, folder: Path) -> None:
    out = folder / "taught.pyedge"
    out.unlink(missing_ok=True)
    words = ("learn", "s.pyedge", "data.npz", "--steps", "1", "--out", out.name)
    done = run(folder, *words, shell=shell)
    assert done.returncode == 0
    assert read_student(out).classes == CLASSES  # no line of a stream went into the file
    if ">&-" in shell.split():
        assert done.stdout == b""
    else:  # and none of standard error into the result
        assert done.stdout.startswith(b"1 steps of 6 images")
    if shell == ">&-":
        assert done.stderr.endswith(b"note: standard output is closed\n")


@pytest.mark.parametrize(
    ("words", "shell", "code"),
    [
        (("predict", "s.pyedge", "ä.npy", "--json"), "| true", 0),
        (("inspect", "s.pyedge"), "| head -1", 0),
        (("--help",), "| true", 0),
        (("learn", "s.pyedge", "data.npz", "--steps", "1", "--out", "t.pyedge"), "2>&1 | true", 0),
        (("predict", "no.pyedge", "ä.npy"), "2>&1 | true", 2),
    ],
)
def test_cli_streams_a_reader_that_leaves_is_no_failure(
    words: tuple[str, ...], shell: str, code: int, folder: Path
) -> None:
    done = run(folder, *words, shell=shell)
    assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_cli_streams_a_result_that_cannot_be_written_is_a_failure(folder: Path) -> None:
    done = run(folder, "predict", "s.pyedge", "ä.npy", shell=">/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        b"pyedge predict: error: the result cannot be written to standard output: "
        b"[Errno 28] No space left on device"
    ]


def test_cli_streams_are_as_they_were_after_a_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict") for _ in "12"]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, stream)
    assert main(["inspect", str(folder / "s.pyedge")]) == 0
    assert [sys.stdout, sys.stderr] == streams
    assert [stream.errors for stream in streams] == ["strict", "strict"]
    assert b"3 classes: Gr\\xf6\\xdfe, \\u732b" in streams[0].buffer.getvalue()  # type: ignore[attr-defined]


def test_cli_streams_a_notebooks_stream_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cell:  # as ipykernel's: no buffer, no errors, no reconfigure
        encoding = "UTF-8"
        text = ""

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None: ...

    cell = Cell()
    monkeypatch.setattr(sys, "stdout", cell)
    with any_streams():
        Console("pyedge", as_json=True).result("", {"a": "ü\udce9"})
    assert json.loads(cell.text) == {"a": "ü\udce9"}


def test_cli_streams_an_error_is_one_line_that_moves_no_cursor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console("pyedge x")
    console.fail("a\n   b  c\x1b[2J\r")
    console.note("d\x1b[2J")
    assert capsys.readouterr().err == "pyedge x: error: a b  c\\x1b[2J\nd\\x1b[2J\n"
    assert visible("a\tb\nü\x9b") == "a\tb\nü\\x9b"


def test_cli_streams_a_bar_without_standard_error_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    bar = ProgressBar("learn", 3)
    bar.update(1, {}, ())
    bar.close()
    assert not bar.shown


def test_cli_tables_keep_their_columns_with_letters_of_any_width() -> None:
    rows = [("猫", 1), ("cafe\u0301", 22), ("dog", 333)]
    lines = text_table(("class", "images"), rows).splitlines()
    assert {width(line) for line in lines} == {len("class  images")}
    assert lines[2] == "猫          1"
    assert lines[3] == "cafe\u0301       22"
