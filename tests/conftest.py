"""What all tests share: one thread each, since pytest runs them on all processors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the tests that need it skip
    pass
else:  # how fast inputs are drawn tells of the machine: emulated, and busy
    settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")

# before numpy, torch or the extension is imported
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that compile: minutes in one file, for one worker, and in one folder."""
    items.sort(key=lambda item: "native" not in item.path.parts)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[[str], dict[str, Any]]:
    """Run `pyedge LINE --json` quietly, which must succeed, and return what it says."""
    from pyedge.cli import main

    def run(line: str) -> dict[str, Any]:
        assert main([*line.split(), "--json", "--quiet"]) == 0
        return json.loads(capsys.readouterr().out)

    return run
