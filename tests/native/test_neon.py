"""The NEON path: the C++ tests built for aarch64 and run under emulation."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.paths import ROOT


def test_neon_equals_the_reference_under_emulation() -> None:
    done = subprocess.run(
        ["sh", str(ROOT / "tools" / "test_neon.sh")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.strip())
    assert "paths: reference neon" in done.stdout
    assert "100% tests passed" in done.stdout
