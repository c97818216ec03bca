"""bench.serve runs: devices get the teacher's logits, in replies of under 1 kB an image."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytest.importorskip("torch")
pytest.importorskip("fastapi")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it reads memory in /proc")
def test_bench_serve_compares_the_service_with_the_bare_teacher(tmp_path: Path) -> None:
    words = "--teacher wrn_16_1 --devices 4 --images 2 --rounds 1 --round-images 16 --requests 40"
    done = subprocess.run(
        [sys.executable, "-m", "bench.serve", *words.split(), "--json", tmp_path / "report"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report").read_text())
    assert all(size < 1000 for size in report["reply_bytes_an_image"].values())
    assert report["of_bare"] > 0
    assert report["p50_ms"] <= report["p99_ms"]
    assert report["memory"]["requests"] == 40
    assert f"of the bare teacher: {report['of_bare']:.3f}" in done.stdout
