"""Build dist/pyedge-*-manylinux_2_28_aarch64.whl on another machine, with zig from PyPI.

    make wheel-aarch64

The wheel is for the version of Python that runs this, and its headers are that Python's own: they
hold for aarch64 too, as both are 64-bit and little endian. docs/aarch64.md tells more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD, DIST = ROOT / "build" / "aarch64", ROOT / "dist"
TAG = "manylinux_2_28_aarch64"
TRIPLET = "aarch64-linux-gnu"


def headers() -> list[str]:
    """Compiler flags for a Python whose pyconfig.h is one a processor, as Debian lays it out.

    Its own pyconfig.h includes <TRIPLET/python3.X/pyconfig.h>, and the build machine has that of
    its processor alone. A copy of it does: between Debian's for x86_64 and for aarch64 four lines
    differ (assembler for the x87, the support tier, wchar_t), and no header reads them.
    """
    include = Path(sysconfig.get_path("include"))
    if TRIPLET not in (include / "pyconfig.h").read_text(encoding="utf-8"):
        return []
    own = include.parent / sysconfig.get_config_var("MULTIARCH") / include.name / "pyconfig.h"
    folder = BUILD / "include"
    copy = folder / TRIPLET / include.name / "pyconfig.h"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(own, copy)
    return ["-isystem", str(folder)]


def build() -> Path:
    """Build the wheel, and return its path."""
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    for old in DIST.glob(f"pyedge-*-{TAG}.whl"):
        old.unlink()
    environment = {
        "ZIG_GLOBAL_CACHE_DIR": str(BUILD / "zig-cache"),  # its C++ runtime, compiled once
        **os.environ,
        # what pybind11, scikit-build-core and sysconfig call the extension and the wheel
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{version}-{TRIPLET}.so",
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        "CXXFLAGS": " ".join([os.environ.get("CXXFLAGS", ""), *headers()]).strip(),
    }
    fresh = BUILD / "wheel"
    shutil.rmtree(fresh, ignore_errors=True)
    settings = [
        f"-Cbuild-dir={BUILD / f'cp{version}'}",
        f"-Ccmake.define.CMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / 'aarch64-manylinux.cmake'}",
        "-Ccmake.define.PYEDGE_STATIC_RUNTIME=ON",
    ]
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(fresh)]
    subprocess.run([*pip, *offline, *settings, str(ROOT)], env=environment, check=True)
    (made,) = fresh.glob("*.whl")
    # pip's tag is linux_aarch64; that glibc 2.28 will do, tests/native/test_wheel_aarch64.py shows
    tags = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", TAG, str(made)]
    subprocess.run(tags, check=True, stdout=subprocess.DEVNULL)
    (tagged,) = fresh.glob(f"*-{TAG}.whl")
    DIST.mkdir(exist_ok=True)
    return Path(shutil.move(tagged, DIST / tagged.name))


if __name__ == "__main__":
    wheel = build()
    print(f"{wheel.relative_to(ROOT)}: {wheel.stat().st_size / 1e6:.2f} MB")
