"""A pack's folder appears whole or not at all, and takes the place of nothing but a pack."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from pyedge.atomic import beside
from pyedge.disk import Note, shown, sync_folder
from pyedge.edge.knowledge_format import MANIFEST, read_manifest
from pyedge.errors import FormatError

_TRIES = 10  # on a disk whose numbers of files change from look to look, none would be the last

try:
    import fcntl
except ImportError:  # no POSIX: two runs that write one pack at a time are not kept apart
    fcntl = None  # type: ignore[assignment]


@contextmanager
def new_pack(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a folder to write a pack into, which takes the place of `path` at the end.

    The folder is hidden beside `path` (.NAME.partial), and goes away if anything is raised; what a
    killed run left there is cleared by the next one. An older pack at `path` is replaced at the
    end. What the disk cannot promise is warned of (`pyedge.disk`). Raises FileExistsError where
    `path` is anything else, or another run is writing it.
    """
    target = Path(os.path.realpath(path))
    old = beside(target, "old")
    if old.exists() and not target.exists():  # a run was killed between its two renames
        os.rename(old, target)
    check_target(target)
    partial = beside(target, "partial")
    lock = _take(partial)
    try:
        yield partial
        notes = sync_folder(partial)
        notes += _put_in_place(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    for note in notes + sync_folder(target.parent):
        note.tell()


def check_target(path: str | PathLike[str]) -> None:
    """Raise FileExistsError unless a pack may be put at `path`: nothing there, or a pack.

    And FileNotFoundError where there is no folder to put it into.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: there is no such folder to write a pack into")
    if not target.exists():
        return
    if not target.is_dir():
        raise FileExistsError(f"{target}: there is a file of this name, a pack is a folder")
    present = {entry.name for entry in target.iterdir()}
    if not present:
        return
    try:
        manifest, _ = read_manifest(target)
    except FormatError as error:
        raise FileExistsError(
            f"{target}: there is a folder that is no pack, which is not overwritten ({error})"
        ) from error
    foreign = sorted(present - manifest.files.keys() - {MANIFEST})
    if foreign:
        raise FileExistsError(
            f"{target}: the pack there is not overwritten, since it also holds {foreign[0]}"
        )


def check_space(path: str | PathLike[str], wanted: int) -> None:
    """Raise OSError (no space left) where the disk has less than `wanted` bytes free."""
    folder = Path(os.path.realpath(path)).parent
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise OSError(
            errno.ENOSPC,
            f"the pack takes {wanted / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB free",
            str(path),
        )


def _take(partial: Path) -> int | None:
    """Make the folder, or empty what a killed run left; hold a lock on it while it is written."""
    partial.mkdir(exist_ok=True)
    handle = _locked(partial)
    for _ in range(_TRIES):
        # the run that held the lock before may have put the folder in place meanwhile
        if handle is None or _same_folder(partial, handle):
            break
        os.close(handle)
        partial.mkdir(exist_ok=True)
        handle = _locked(partial)
    for left in partial.iterdir():
        left.unlink()
    return handle


def _same_folder(folder: Path, handle: int) -> bool:
    try:
        return os.stat(folder).st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _locked(folder: Path) -> int | None:
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a disk on which folders are not opened
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise FileExistsError(f"{folder}: another run is writing this pack") from None
    except OSError:  # a file system without locks
        pass
    return handle


def _put_in_place(partial: Path, target: Path) -> list[Note]:
    """Rename the folder to `target`, and remove the pack that was there."""
    old = beside(target, "old")
    if old.exists():
        shutil.rmtree(old)  # the pack there is a later one
    if not target.exists():
        os.rename(partial, target)
        return []
    # a folder that holds files cannot be replaced in one go, nor renamed on every disk: a
    # container's refuses (EXDEV) where the folder came with its image, and then it is copied
    shutil.move(target, old)
    try:
        os.rename(partial, target)
    except BaseException:
        shutil.move(old, target)
        raise
    try:
        shutil.rmtree(old)
    except OSError as error:
        text = f"{shown(target)} is written, but the pack before it stays as {shown(old)}"
        return [Note("old pack", f"{text} ({error.strerror})")]
    return []
