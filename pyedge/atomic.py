"""Atomic writing: a file holds the old content or the new one, never a part of either."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import BinaryIO


def write_atomically(path: str | PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a new file, and put it in the place of `path` once it is on the disk.

    The file is written beside, flushed to the disk and renamed; it gets the permissions of any new
    file. Whatever `write` raises goes through, and so does the OSError of a full disk; the old file
    is then untouched and the new one gone. A Ctrl-C waits until the file is written; see
    `hold_interrupt`.
    """
    target = Path(path)
    with hold_interrupt():
        handle, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(beside, _mode_of_new_files())
            os.replace(beside, target)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
        sync_folder(target.parent)


@contextmanager
def hold_interrupt() -> Iterator[None]:
    """Let a Ctrl-C (SIGINT) that comes inside the block take effect at its end.

    A KeyboardInterrupt may otherwise come between any two lines, or inside a library that turns it
    into an error of its own. A second one takes effect at once, should the block hang. Signals
    reach the main thread only: in others, and where SIGINT is ignored, the block is a plain one.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    held: list[FrameType | None] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(frame)
        if len(held) > 1:
            handler(number, frame)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if len(held) == 1:
            handler(signal.SIGINT, held[0])


def _mode_of_new_files() -> int:
    """mkstemp makes files that nobody else can read; a network is meant to be passed on."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def sync_folder(folder: Path) -> None:
    """Make names in a folder last through a power cut; only POSIX can open a folder for this."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
