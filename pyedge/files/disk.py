"""What a disk is asked for besides its bytes: to keep them through a power cut, modes, owners.

Many disks cannot: network and virtual ones, FUSE, a phone's shared storage, vfat. That is not an
error here but a note, since the bytes are written; notes are given as warnings, each kind once a
process. A disk that fails (EIO, no space) is another matter: those errors are raised.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pyedge.warning import warn

# what a file system answers that does not know an operation, or a sandbox that does not allow it
UNSUPPORTED = frozenset(
    {
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.EPERM,
        errno.EACCES,
    }
)

_later: ContextVar[tuple[Path, Path] | None] = ContextVar("_later", default=None)
_said: set[str] = set()  # the kinds of note that this process has given


@dataclass(frozen=True)
class Note:
    """Something that a disk does not promise. kind: each kind is told once a process."""

    kind: str
    text: str

    def tell(self) -> None:
        """Warn, unless a note of this kind has been given."""
        if self.kind not in _said:
            _said.add(self.kind)
            warn(f"{self.text} (said once)")


def sync_file(file: BinaryIO, path: str | os.PathLike[str]) -> list[Note]:
    """Flush what is written to `file` to the disk, and return what the disk did not promise.

    Raises OSError if the disk fails.
    """
    try:
        file.flush()
    except OSError as error:
        raise OSError(*error.args[:2], os.fspath(path)) from error
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise OSError(*error.args[:2], os.fspath(path)) from error
        return [
            Note(
                "file sync",
                f"{shown(path)} is written, but this disk cannot tell when it is safe there "
                f"(fsync: {error.strerror}): a power cut within the next minutes may damage it",
            )
        ]
    return []


def sync_folder(folder: str | os.PathLike[str]) -> list[Note]:
    """Make the names in a folder survive a power cut, and return what was not promised.

    Never raises: the names are there already. Only POSIX can open a folder for this.
    """
    if os.name != "posix":
        return []
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return [
            Note(
                "folder sync",
                f"{shown(folder)}: the file in it is written whole, but this disk does not sync "
                f"folders ({error.strerror}): after a power cut within the next minutes the older "
                "file may be there",
            )
        ]
    return []


def keep_owner_and_mode(descriptor: int, before: os.stat_result, path: Path) -> list[Note]:
    """Give an open file the owner and mode of the file that it replaces, as far as allowed."""
    if not hasattr(os, "fchown"):  # Windows
        return []
    notes = []
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        for owner in (before.st_uid, -1):  # the group at least
            try:
                os.fchown(descriptor, owner, before.st_gid)
                break
            except OSError as error:
                failure = error
        else:
            notes.append(
                Note(
                    "owner",
                    f"{shown(path)} is written, and belongs to another user or group than before "
                    f"({failure.strerror})",
                )
            )
    wanted = stat.S_IMODE(before.st_mode) & 0o777
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != wanted:
        try:
            os.fchmod(descriptor, wanted)
        except OSError as error:
            notes.append(
                Note(
                    "mode",
                    f"{shown(path)} is written, but this disk does not let its permissions be "
                    f"{wanted:03o} as before (chmod: {error.strerror})",
                )
            )
    return notes


def shown(path: str | bytes | os.PathLike[str]) -> str:
    """Return a path as text that any output can print, even if it is not UTF-8."""
    return os.fsencode(later_name(path)).decode(errors="backslashreplace")


@contextmanager
def renamed_later(folder: Path, target: Path) -> Iterator[None]:
    """Inside the block, name files in `folder` as they will be called later: in `target`."""
    token = _later.set((folder, target))
    try:
        yield
    finally:
        _later.reset(token)


def later_name(path: str | bytes | os.PathLike[str]) -> str:
    """Return a path as it will be called, see `renamed_later`."""
    here, later = Path(os.fsdecode(path)), _later.get()
    if later is None or later[0] not in (here, *here.parents):
        return os.fsdecode(path)
    return str(later[1] / here.relative_to(later[0]))
