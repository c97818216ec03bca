"""Atomic writing: a file holds the old content or the new one, never a part of either.

If a disk cannot promise that (`pyedge.files.disk`), the file is written as safely as the disk
allows, and a warning says what is not promised. An error is raised only if the new content was not
written.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from pyedge.files.disk import UNSUPPORTED, Note, keep_owner_and_mode, shown, sync_file, sync_folder

# a folder in which nothing new may be made, though a file in it may be written
_CLOSED_FOLDER = {errno.EACCES, errno.EPERM, errno.EROFS}
# a file that cannot be renamed over: a mount point of its own (a container's), another user's file
# in a sticky folder, one that a program of Windows holds open, a disk that cannot rename
_NO_RENAME = {errno.EBUSY, errno.EXDEV, *UNSUPPORTED}
_LONGEST_STEM = 100  # bytes of a name that a hidden name repeats; some disks end at 143
_RANDOM_BYTES = 4

Write = Callable[[BinaryIO], object]


def write_atomically(path: str | bytes | PathLike[Any], write: Write) -> None:
    """Let `write` fill a new file, and replace `path` with it once it is on the disk.

    The file is written next to `path`, flushed to the disk and renamed. A new file has the usual
    permissions of a new file; a replaced one keeps its own, and its owner if that is allowed; other
    hard links to it keep the old content. A symbolic link stays, and the file that it points to is
    written. Devices and pipes are written to, not replaced.

    Errors of `write` and `find_target` and the OSError of a full disk are raised; the old file is
    then untouched and the new one removed. On a disk that cannot sync, rename or set modes the file
    is written, with a warning. A Ctrl-C waits until the file is written; see `hold_interrupt`.
    """
    with hold_interrupt():
        target = find_target(path)
        notes = _send(target, write) if target.stream else _fill(target, write)
    for note in notes:
        note.tell()


@dataclass(frozen=True)
class Target:
    """Where a path leads. before: what is there now, None for a new file.

    stream: whether it cannot be replaced by another file: a device, a pipe, an open file without a
    name.
    """

    path: Path
    before: os.stat_result | None = None
    stream: bool = False


def find_target(path: str | bytes | PathLike[Any]) -> Target:
    """Follow `path` to what `write_atomically` will write, without touching anything.

    Raises OSError if nothing can be written there: a folder, a link that leads to itself, a
    read-only file, no folder to put a new file into.
    """
    name = os.fsdecode(path)
    if not name:
        raise FileNotFoundError(errno.ENOENT, "wanted a file's path, got an empty one", name)
    if name.endswith(tuple(filter(None, (os.sep, os.altsep)))):
        raise IsADirectoryError(errno.EISDIR, "is a folder's name, wanted a file's", name)
    target = Path(os.path.realpath(name))
    try:
        before = os.stat(name)
    except FileNotFoundError:  # a new file, or one that a dangling link points to
        if target.parent.is_dir():
            return Target(target)
        raise FileNotFoundError(
            errno.ENOENT, "there is no such folder to write into", str(target.parent)
        ) from None
    if stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, wanted a file", name)
    if not stat.S_ISREG(before.st_mode) or not target.is_file():
        return Target(Path(name), before, stream=True)  # /dev/stdout may lead to no name at all
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only", name)
    return Target(target, before)


def check_folder(path: str | PathLike[str]) -> None:
    """Raise OSError unless `path` is a folder to write into, or can be made one."""
    target = Path(os.path.realpath(path))
    if os.path.islink(path) and not target.exists():  # no folder can be made of it
        raise NotADirectoryError(errno.ENOTDIR, "is a link that leads nowhere", os.fspath(path))
    place = next(place for place in (target, *target.parents) if os.path.lexists(place))
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is not a folder", str(place))
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, "the folder cannot be written to", str(place))


def beside(target: Path, end: str) -> Path:
    """Return a hidden path next to `target`: .NAME.END, with a long NAME cut."""
    stem = target.name
    if len(os.fsencode(stem)) > _LONGEST_STEM:
        while len(os.fsencode(stem)) > _LONGEST_STEM:
            stem = stem[:-1]
        stem += hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    return target.with_name(f".{stem}.{end}")


def remove_leftovers(path: str | bytes | PathLike[Any]) -> None:
    """Remove what processes that were killed while writing `path` have left next to it.

    Only for a file that one process at a time writes: a process that is writing has such a file
    too. Does nothing on a read-only disk.
    """
    target = Path(os.path.realpath(os.fsdecode(path)))
    prefix = beside(target, "").name
    with suppress(OSError):
        for file in target.parent.iterdir():
            if len(file.name) == len(prefix) + 2 * _RANDOM_BYTES and file.name.startswith(prefix):
                file.unlink(missing_ok=True)


def _send(target: Target, write: Write) -> list[Note]:
    """Write to a device or a pipe, which gets the whole content without seeking."""
    content = _in_memory(write)
    try:
        with open(target.path, "wb") as file:
            file.write(content)
    except OSError as error:  # a full device names nothing
        raise OSError(*error.args[:2], str(target.path)) from error
    return []


def _in_memory(write: Write) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()


class _Output(io.FileIO):
    """A file that remembers why a write to it failed."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def _fill(target: Target, write: Write) -> list[Note]:
    """Write a file next to the target and rename it."""
    path = target.path
    try:
        descriptor, new = _new_file(target)
    except OSError as error:
        if target.before is not None and error.errno in _CLOSED_FOLDER:
            return _overwrite(target, _in_memory(write), error)
        raise OSError(*error.args[:2], str(path)) from error
    output = _Output(descriptor, "w")
    try:
        with io.BufferedWriter(output) as file:
            write(file)
            notes = sync_file(file, path)
            if target.before is not None:
                notes += keep_owner_and_mode(descriptor, target.before, path)
        try:
            os.replace(new, path)
        except OSError as error:
            if error.errno not in _NO_RENAME:
                raise
            notes = _overwrite(target, new.read_bytes(), error)
            with suppress(OSError):
                new.unlink()
    except BaseException as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        if output.failure is None or not isinstance(error, Exception):
            raise
        # torch tells of a full disk in an error of its own, which says nothing of disks
        raise OSError(*output.failure.args[:2], str(path)) from error
    return notes + sync_folder(path.parent)


def _new_file(target: Target) -> tuple[int, Path]:
    """Make a file next to the target, which others may open only if they may open the target.

    The system applies the umask by itself; reading the umask here would change it for a moment, for
    all threads.
    """
    mode = 0o666 if target.before is None else stat.S_IMODE(target.before.st_mode) & 0o777
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        new = beside(target.path, os.urandom(_RANDOM_BYTES).hex())
        with suppress(FileExistsError):
            return os.open(new, flags, mode), new


def _overwrite(target: Target, content: bytes, reason: OSError) -> list[Note]:
    """Overwrite a file that cannot be replaced; if that fails, put its old content back."""
    path = target.path
    with open(path, "r+b" if target.before is not None else "xb", buffering=0) as file:
        old = file.read() if target.before is not None else b""
        try:
            # what is longer than the old file comes first: a full disk then has harmed nothing
            for start, part in ((len(old), content[len(old) :]), (0, content[: len(old)])):
                file.seek(start)
                _write_all(file, part)
            file.truncate(len(content))
            notes = sync_file(file, path)
        except BaseException:
            if target.before is None:
                path.unlink(missing_ok=True)
            else:
                file.seek(0)
                _write_all(file, old)
                file.truncate(len(old))
            raise
    text = (
        f"{shown(path)} is written, but by overwriting the old file ({reason.strerror}, as for a "
        "file that is a mount point or lies in a folder that is not yours): had the process been "
        "killed meanwhile, the file would hold parts of both"
    )
    return [*notes, Note("in place", text)]


def _write_all(file: io.FileIO, content: bytes) -> None:
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise OSError(*error.args[:2], os.fspath(file.name)) from error


@contextmanager
def hold_interrupt() -> Iterator[None]:
    """Let a Ctrl-C (SIGINT) that comes inside the block take effect at its end.

    A KeyboardInterrupt may otherwise come between any two lines, or inside a library that turns it
    into an error of its own. A second Ctrl-C takes effect at once, in case the block hangs. Signals
    reach only the main thread: in others, and if SIGINT is ignored, this does nothing.
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
