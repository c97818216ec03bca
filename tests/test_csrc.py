"""The C++ tests, built with cmake into build/csrc-tests (kept: a second run takes seconds)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "csrc-tests"


def run(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_csrc_tests_pass() -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake on the path")
    run("cmake", "-S", ROOT, "-B", BUILD, "-DPYEDGE_BUILD_PYTHON=OFF", "-DPYEDGE_BUILD_TESTS=ON")
    run("cmake", "--build", BUILD, "--parallel", "2")
    assert "100% tests passed" in run("ctest", "--test-dir", BUILD, "--output-on-failure")
