"""A few kills at random moments; `make crash-test` makes 200."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.student.archive import write_student
from tests.support.edge_student import images, tiny_student
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


def crash_test() -> Any:
    path = ROOT / "tools" / "crash_test.py"
    spec = importlib.util.spec_from_file_location("crash_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for their module
    spec.loader.exec_module(module)
    return module


def test_crash_killed_learning_resumes_to_the_same_bits(tmp_path: Path) -> None:
    tool = crash_test()
    pixels, labels = images(160)
    np.savez(tmp_path / tool.IMAGES, images=pixels, labels=labels)
    write_student(tiny_student(), tmp_path / tool.STUDENT)
    tally = tool.crash(tmp_path, 4, seed=1, say=lambda text: None)
    assert tally.kills == 4
    assert tally.runs >= 1
    assert tally.failures == []
