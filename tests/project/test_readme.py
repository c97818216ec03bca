"""The README's Python examples run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytest.importorskip("torch")
README = ROOT / "README.md"


def test_readme_examples_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    accuracy = float(capsys.readouterr().out.split()[-1])
    assert accuracy > 0.8  # ten classes: far from chance after a few epochs
