"""The cross-built wheel is what its name says, and needs no more than it says.

Looks at the wheel in dist/ that `make wheel-aarch64` left there.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from tests.support.paths import ROOT

TAG = "manylinux_2_28_aarch64"
# pieces of glibc, which is as old as the tag allows
LIBC = {
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "ld-linux-aarch64.so.1",
}


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = list((ROOT / "dist").glob(f"pyedge-*-{TAG}.whl"))
    if not found:
        pytest.skip("no aarch64 wheel in dist/: make wheel-aarch64 first")
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def extension(wheel: Path) -> ELFFile:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if "_core." in name and ".so" in name]
        return ELFFile(io.BytesIO(archive.read(name)))


def test_wheel_suffix_tag_and_machine_agree(wheel: Path, extension: ELFFile) -> None:
    tag = re.search(r"-cp(\d+)-cp(\d+)-", wheel.name)
    assert tag is not None
    assert tag[1] == tag[2]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (about,) = [name for name in names if name.endswith(".dist-info/WHEEL")]
        said = message_from_bytes(archive.read(about)).get_all("Tag")
    assert said == [f"cp{tag[1]}-cp{tag[1]}-{TAG}"]
    libraries = [name for name in names if ".so" in name]
    assert libraries == [f"pyedge/_core.cpython-{tag[1]}-aarch64-linux-gnu.so"]
    assert extension["e_machine"] == "EM_AARCH64"


def test_wheel_links_libc_alone(extension: ELFFile) -> None:
    tags = list(extension.get_section_by_name(".dynamic").iter_tags())
    needed = {tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"}
    assert needed
    assert needed <= LIBC
    assert not [tag for tag in tags if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH")]


def test_wheel_asks_for_no_newer_glibc_than_its_tag(extension: ELFFile) -> None:
    (section,) = [s for s in extension.iter_sections() if isinstance(s, GNUVerNeedSection)]
    versions = {auxiliary.name for _, names in section.iter_versions() for auxiliary in names}
    assert versions
    for version in versions:
        number = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", version)
        assert number is not None, version
        assert (int(number[1]), int(number[2])) <= (2, 28), version


def test_wheel_shows_nothing_but_the_module(extension: ELFFile) -> None:
    symbols = extension.get_section_by_name(".dynsym").iter_symbols()
    shown = {s.name for s in symbols if s.name and s.entry.st_shndx != "SHN_UNDEF"}
    assert shown == {"PyInit__core"}
    assert extension.get_section_by_name(".symtab") is None  # stripped


def test_wheel_is_small_and_needs_numpy_alone(wheel: Path) -> None:
    assert wheel.stat().st_size <= 1_500_000
    with zipfile.ZipFile(wheel) as archive:
        (about,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(about))
    requires = metadata.get_all("Requires-Dist") or []
    always = [line for line in requires if "extra ==" not in line]
    assert [re.split(r"[^A-Za-z0-9_-]", line)[0] for line in always] == ["numpy"]


def test_wheel_installs_for_its_platform(wheel: Path, tmp_path: Path) -> None:
    tag = re.search(r"-cp3(\d+)-", wheel.name)
    assert tag is not None
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    foreign = ["--platform", TAG, "--only-binary=:all:", "--python-version", f"3.{tag[1]}"]
    done = subprocess.run(
        [*command, *foreign, "--target", str(tmp_path / "site"), str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "pyedge" / "__init__.py").exists()
