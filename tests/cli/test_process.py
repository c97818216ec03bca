"""The command as a process: start, streams, exit codes, signals, and a Python without torch."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyedge

RUN = "import sys; from pyedge.cli import main; sys.exit(main())"
WITHOUT = "import sys; sys.modules[{!r}] = None; " + RUN
# whoever starts the tests in the background has Ctrl-C ignored, and children inherit that
HEED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + RUN
PROBE = RUN.replace("sys.exit(main())", "main(); print(sorted(sys.modules), file=sys.stderr)")


def pyedge_process(
    *words: str, code: str = RUN, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        check=False,
    )


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"]])
def test_cli_process_help_imports_nothing_heavy(words: list[str]) -> None:
    done = pyedge_process(*words, code=PROBE)
    assert done.returncode == 0
    assert "pyedge" in done.stdout
    modules = set(ast.literal_eval(done.stderr))
    assert "pyedge.cli" in modules
    assert not modules & {"torch", "numpy", "rich", "matplotlib"}


def test_cli_process_version_and_bare_call() -> None:
    assert pyedge_process("--version").stdout == f"pyedge {pyedge.__version__}\n"
    bare = pyedge_process()
    assert bare.returncode == 2
    assert bare.stdout == ""
    assert "From images to a small network in four commands" in bare.stderr


def test_cli_process_without_torch_names_the_install_line(tmp_path: Path) -> None:
    done = pyedge_process(
        "train", "digits", "--out", "t.pt", code=WITHOUT.format("torch"), folder=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == (
        'pyedge train: error: needs torch, which is not installed: pip install "pyedge[cloud]"\n'
    )
    assert os.listdir(tmp_path) == []


def test_cli_process_streams_signals_and_no_leftovers(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    line = ["train", "digits", "--model", "wrn_10_1", "--out", "t.pt", "--threads", "1"]
    done = pyedge_process(*line, "--epochs", "1", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["out"] == "t.pt"
    assert "digits: 1293 training, 145 validation and 359 test images" in done.stderr
    assert "validation 1: accuracy" in done.stderr
    assert os.listdir(tmp_path) == ["t.pt"]
    before = (tmp_path / "t.pt").read_bytes()

    command = [sys.executable, "-c", HEED, *line, "--epochs", "1000", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        checkpoint = tmp_path / "t.pt.checkpoint"
        deadline = time.monotonic() + 120
        while not checkpoint.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err.splitlines() == ["pyedge train: interrupted; the same command with --resume goes on"]
    assert sorted(os.listdir(tmp_path)) == ["t.pt", "t.pt.checkpoint"]
    assert (tmp_path / "t.pt").read_bytes() == before
