"""Atomic writing: a file holds the old content or the new one, never a part of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a new file, and put it in the place of `path` once it is on the disk.

    The file is written beside, flushed to the disk and renamed; it gets the permissions of any new
    file. Whatever `write` raises goes through, and so does the OSError of a full disk; the old file
    is then untouched and the new one gone.
    """
    target = Path(path)
    handle, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, _mode_of_new_files())
        os.replace(beside, target)
    except BaseException:
        os.unlink(beside)
        raise
    _sync_folder(target.parent)


def _mode_of_new_files() -> int:
    """mkstemp makes files that nobody else can read; a network is meant to be passed on."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut; only POSIX can open a folder for this."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
