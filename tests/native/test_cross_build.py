"""A cross build puts no aarch64 code under an x86_64 name: CMake stops, and says what to set."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pybind11
import pytest

from tests.support.paths import ROOT

COMPILER = "aarch64-linux-gnu-g++"
SUFFIX = {"SETUPTOOLS_EXT_SUFFIX": ".cpython-311-aarch64-linux-gnu.so"}
PLATFORM = {"_PYTHON_HOST_PLATFORM": "linux-aarch64"}

pytestmark = pytest.mark.skipif(
    platform.machine() == "aarch64" or not all(map(shutil.which, ("cmake", COMPILER))),
    reason=f"needs cmake and {COMPILER}, and a processor that is not aarch64",
)


def configure(folder: Path, named: dict[str, str], wheel: bool = False) -> tuple[int, str]:
    """Configure a build for aarch64 with some environment; return exit code and output."""
    defines = {
        "CMAKE_TOOLCHAIN_FILE": ROOT / "cmake" / "aarch64-linux-gnu.cmake",
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "Python_INCLUDE_DIR": sysconfig.get_path("include"),
        "Python_EXECUTABLE": Path(sysconfig.get_path("scripts")) / "python",
        **({"SKBUILD": 2} if wheel else {}),
    }
    command = ["cmake", "-S", str(ROOT), "-B", str(folder)]
    command += [f"-D{name}={value}" for name, value in defines.items()]
    environment = {k: v for k, v in os.environ.items() if k not in (*SUFFIX, *PLATFORM)}
    done = subprocess.run(command, capture_output=True, text=True, env={**environment, **named})
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_cross_build_without_a_suffix_stops(tmp_path: Path) -> None:
    x86 = {"SETUPTOOLS_EXT_SUFFIX": ".cpython-311-x86_64-linux-gnu.so"}
    for folder, named in (("none", {}), ("x86", x86)):
        code, output = configure(tmp_path / folder, named)
        assert code != 0
        assert "a cross build for aarch64, but the extension would be called _core." in output
        assert "set SETUPTOOLS_EXT_SUFFIX" in output


def test_cross_build_of_a_wheel_without_a_tag_stops(tmp_path: Path) -> None:
    code, output = configure(tmp_path, SUFFIX, wheel=True)
    assert code != 0
    assert "a cross build for aarch64, but the wheel would be tagged linux-" in output
    assert "_PYTHON_HOST_PLATFORM=linux-aarch64" in output


def test_cross_build_with_both_goes_on(tmp_path: Path) -> None:
    code, output = configure(tmp_path, SUFFIX | PLATFORM, wheel=True)
    assert code == 0, output
