"""The C++ tests, built with cmake into build/csrc-tests (kept: a second run takes seconds)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

BUILD = ROOT / "build" / "csrc-tests"


def run(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def build() -> Path:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake on the path")
    run("cmake", "-S", ROOT, "-B", BUILD, "-DPYEDGE_BUILD_PYTHON=OFF", "-DPYEDGE_BUILD_TESTS=ON")
    run("cmake", "--build", BUILD, "--parallel", "2")
    return BUILD


def test_csrc_tests_pass(build: Path) -> None:
    assert "100% tests passed" in run("ctest", "--test-dir", build, "--output-on-failure")


def test_csrc_instruction_sets_share_no_code(build: Path) -> None:
    # A weak symbol (an inline function, a template) in a file compiled with -mavx512f could
    # replace the same one elsewhere, and crash a CPU without AVX-512.
    if shutil.which("nm") is None:
        pytest.skip("no nm on the path")
    objects = sorted(build.rglob("isa_*.o"))
    assert objects
    for path in objects:
        lines = run("nm", "--defined-only", "--extern-only", path).splitlines()
        names = [line.split()[-1] for line in lines if line.strip()]
        assert len(names) == 1, (path.name, names)
        assert names[0].endswith("_tableE"), (path.name, names)
