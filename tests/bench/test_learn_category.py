"""bench.learn_category runs, and its students learn what they are timed with."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT


def test_bench_learn_category_prints_a_row_for_each_classifier() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.learn_category", "--rounds", "1", "--images", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()[1:]
    assert [" 498 features" in rows[0], " 1096 features" in rows[1]] == [True, True]
    assert all(" learn " in row and " predict " in row for row in rows)
