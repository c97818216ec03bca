"""What the tests of saving share: functions of `os` that fail, mounts, a file to replace."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyedge.files import disk
from pyedge.files.atomic import write_atomically

needs_posix = pytest.mark.skipif(os.name != "posix", reason="links, modes and mounts of POSIX")


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each note is told once a process; here it is once a test."""
    monkeypatch.setattr(disk, "_said", set())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def put(path: Any, content: bytes = b"new") -> None:
    write_atomically(path, lambda file: file.write(content))


def only(path: Path) -> bytes:
    """Read a file, with nothing else beside it."""
    assert os.listdir(path.parent) == [path.name]
    return path.read_bytes()


def failing(name: str, code: int, when: Callable[..., bool] = lambda *_: True) -> Any:
    """Make a function like os.NAME that fails with an error code."""
    real = getattr(os, name)

    def function(*arguments: Any, **keywords: Any) -> Any:
        if when(*arguments):
            raise OSError(code, os.strerror(code))
        return real(*arguments, **keywords)

    return function


def of_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def of_file(descriptor: int) -> bool:
    return not of_folder(descriptor)


@contextmanager
def mounted(place: Path, *words: str) -> Iterator[None]:
    """Mount something, where that is allowed."""
    made = subprocess.run(["mount", *words, str(place)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
