"""The tests that tests/device.txt lists are all that a device without torch can run of them."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

# files of the device's rooms that are neither listed nor say by an import that they need torch
AWAY = {
    "tests/engine/test_vectors_made.py",  # runs tools/make_vectors.py, which needs torch
    "tests/edge/test_learner_forks.py",  # forks beside threads, kept out of the emulated run
}


def test_device_tests_are_collected_without_torch_and_bench() -> None:
    # None in their place makes any import of them fail
    code = (
        "import sys\n"
        "away = ('torch', 'sklearn', 'PIL', 'lightning_fabric', 'torchmetrics', 'rich', 'bench')\n"
        "for name in away:\n"
        "    sys.modules[name] = None\n"
        "import pytest\n"
        "sys.exit(pytest.main(['-q', '--collect-only', '-p', 'no:cacheprovider',"
        " '@tests/device.txt']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (ROOT / "tests" / "device.txt").read_text(encoding="utf-8").split():
        assert f"{line}::" in done.stdout, line


def test_device_tests_cover_the_device() -> None:
    # a new file of tests of the kernels, the engine or the file belongs there, or needs torch
    listed = (ROOT / "tests" / "device.txt").read_text(encoding="utf-8").split()
    for room in ("kernels", "engine", "edge", "student"):
        found = list((ROOT / "tests" / room).glob("test_*.py"))
        assert found, room
        for path in found:
            text = path.read_text(encoding="utf-8")
            helpers = ("engine_oracle", "engine_students", "engine_agreement", "knowledge_case")
            needs_torch = "import torch" in text or any(name in text for name in helpers)
            needs_torch |= 'importorskip("torch")' in text
            name = f"tests/{room}/{path.name}"
            assert needs_torch or name in AWAY or name in listed, name
