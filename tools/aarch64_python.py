"""Prepare an aarch64 Python with numpy, pytest and our wheel, to be run under emulation.

    python tools/aarch64_python.py        prints the command, build/aarch64/python

Needs qemu-aarch64-static, and apt and dpkg to fetch Debian's arm64 packages of the Python that the
wheel is for; no root, and nothing outside build/aarch64 is touched. What is there already stays,
but for our wheel.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "aarch64"
TAG = "manylinux_2_28_aarch64"
# older tags are good too, and pip takes no newer system for an older one by itself
TAGS = (TAG, "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
PACKAGES = ("numpy", "pytest", "pytest-xdist", "hypothesis")
EMULATOR = "qemu-aarch64-static"


def prepare() -> Path:
    """Return the command of an aarch64 Python that has our wheel."""
    for tool in (EMULATOR, "apt-get", "dpkg"):
        if shutil.which(tool) is None:
            sys.exit(f"aarch64_python: {tool} is missing; on Debian: apt-get install {_home(tool)}")
    wheel, version = find_wheel()
    root, site = HOME / f"root-{version}", HOME / f"site-{version}"
    interpreter = root / "usr" / "bin" / f"python{version}"
    if not interpreter.exists():
        _fetch_debian(root, f"python{version}", "libstdc++6")  # numpy's wheel links the latter
    wanted = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    stamp = site / "constraints.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(site, ignore_errors=True)
        _pip(version, site, "-c", str(ROOT / "constraints.txt"), *PACKAGES)
        stamp.write_text(wanted, encoding="utf-8")
    for old in site.glob("pyedge*"):
        shutil.rmtree(old)
    _pip(version, site, "--no-deps", str(wheel))
    return _write_command(root, site, interpreter)


def find_wheel() -> tuple[Path, str]:
    """Return our wheel and the version of Python that it is for, such as 3.11."""
    for path in sorted((ROOT / "dist").glob(f"pyedge-*-{TAG}.whl")):
        found = re.search(r"-cp3(\d+)-", path.name)
        if found:
            return path, f"3.{found[1]}"
    sys.exit(f"aarch64_python: no dist/pyedge-*-{TAG}.whl; make it with: make wheel-aarch64")


def _home(tool: str) -> str:
    return "qemu-user-static" if tool == EMULATOR else tool


def _fetch_debian(root: Path, *packages: str) -> None:
    """Unpack packages and all that they depend on, for arm64, by apt with a state of its own."""
    apt = HOME / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()  # nothing is installed there: every dependency is fetched
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # root's apt would else read as a user who may not
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    print(f"fetching {', '.join(packages)} for arm64", flush=True)
    for words in (["update"], ["install", "--yes", "--download-only", *packages]):
        subprocess.run(["apt-get", "-qq", *options, *words], check=True)
    unpacked = root.with_name(f"{root.name}.part")
    shutil.rmtree(unpacked, ignore_errors=True)
    for archive in sorted((apt / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(archive), str(unpacked)], check=True)
    shutil.rmtree(root, ignore_errors=True)
    unpacked.rename(root)  # whole, or not there


def _pip(version: str, site: Path, *what: str) -> None:
    """Install wheels for aarch64 into a folder."""
    platforms = [word for tag in TAGS for word in ("--platform", tag)]
    foreign = ["--only-binary=:all:", "--python-version", version, "--target", str(site)]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *platforms, *foreign, *what], check=True)


def _write_command(root: Path, site: Path, interpreter: Path) -> Path:
    """Write a script that is this Python; processes that it starts find themselves by it.

    Without it the kernel would be asked to run an aarch64 program, and refuse. -0: what
    sys.executable says. -S: no packages of the build machine, of which Debian's `site` knows.
    """
    command = HOME / "python"
    command.write_text(
        "#!/bin/sh\n"
        f"export PYTHONHOME='{root / 'usr'}' PYTHONPATH='{site}'\"${{PYTHONPATH:+:$PYTHONPATH}}\"\n"
        f"exec {EMULATOR} -L '{root}' -0 '{command}' '{interpreter}' -S \"$@\"\n",
        encoding="utf-8",
    )
    command.chmod(0o755)
    return command


if __name__ == "__main__":
    print(prepare())
