"""Test the aarch64 wheel under emulation, and with x86-64 as the cloud beside it.

    make test-aarch64

Runs the tests of the device's side (tests/device.txt) in an aarch64 Python that has the wheel of
dist/ and no torch, then here the tests that look at the wheel and those that send files between
both. Emulation proves answers, never speed.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time

from aarch64_python import HOME, ROOT, prepare

# what the tests read; without pyedge's sources, so that it is the wheel that they import
COPIED = ("tests", "tools")


def copy_tests() -> None:
    """Lay the tests where the emulated Python runs them."""
    folder = HOME / "device"
    shutil.rmtree(folder, ignore_errors=True)
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def main() -> int:
    """Prepare, run both parts, and return an exit code."""
    python = str(prepare())
    copy_tests()
    pytest = ["-m", "pytest", "-p", "no:cacheprovider"]
    device = [*pytest, "-n", "2", "--dist", "loadfile", "--durations=5", "@tests/device.txt"]
    beside = [*pytest, "tests/native/test_wheel_aarch64.py", "tests/native/test_two_machines.py"]
    failed = 0
    for command, folder in ([python, *device], HOME / "device"), ([sys.executable, *beside], ROOT):
        began, used = time.monotonic(), _processor_seconds()
        environment = {**os.environ, "PYEDGE_AARCH64_PYTHON": python}
        failed |= subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        took, used = time.monotonic() - began, _processor_seconds() - used
        print(f"took {took:.0f} s, and {used:.0f} s of processors", flush=True)
    return failed


def _processor_seconds() -> float:
    """What processes that have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
