"""`make cloud-demo` as a user runs it: three devices end by knowing what each has learned."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyedge
from tests.support.paths import ROOT

pytest.importorskip("torch")
pytest.importorskip("fastapi")

_STAGES = ("after its own images", "with the others' categories", "everybody's classifier")
_NEW = ("7", "8", "9")
_ROW = re.compile(r"^ +([789])  (.*?) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", re.M)


def test_cloud_demo_ends_with_three_devices_that_know_all_digits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyedge.demo.cloud", tmp_path / "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "contributions: counted, counted, counted" in done.stdout
    table = {
        (row[0], row[1]): [float(each) for each in row[2:]] for row in _ROW.findall(done.stdout)
    }
    assert set(table) == {(device, stage) for device in _NEW for stage in _STAGES}
    for place, device in enumerate(_NEW):
        own, others, everybody = (table[device, stage] for stage in _STAGES)
        # 36 images of a digit: each is 3 per cent
        assert own[0] > 90
        assert [share > 80 for share in own[1:4]] == [each == place for each in range(3)]
        assert min(others) > 80
        assert min(everybody) > 80
        assert others[4] > own[4] + 10
        assert everybody == table[_NEW[0], _STAGES[2]]  # one classifier for all
        kept = (tmp_path / "demo" / f"device-{device}" / "cloud" / "students").rglob("*.pyedge")
        newest = max(map(pyedge.read_student, kept), key=lambda student: len(student.classes))
        assert sorted(newest.classes) == [str(digit) for digit in range(10)]
