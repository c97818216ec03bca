"""A pack's folder appears whole or not at all, and replaces nothing but a pack."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from pyedge.errors import FormatError
from pyedge.files.atomic import beside
from pyedge.files.disk import Note, later_name, renamed_later, shown, sync_folder
from pyedge.knowledge.format import MANIFEST, read_manifest

_TRIES = 10  # on a disk whose numbers of files change from look to look, none would be the last

try:
    import fcntl
except ImportError:  # no POSIX: two runs that write one pack at a time are not kept apart
    fcntl = None  # type: ignore[assignment]


@contextmanager
def new_pack(path: str | PathLike[str]) -> Iterator[Path]:
    """Yield a folder to write a pack into, which becomes `path` at the end.

    The folder is hidden next to `path` (.NAME.partial), and removed after an error; the next run
    clears what a killed run left there. An older pack at `path` is replaced at the end. A warning
    tells what the disk cannot promise (`pyedge.files.disk`). Raises FileExistsError if `path` is
    anything else, or another run is writing it.
    """
    target = Path(os.path.realpath(path))
    aside = _put_aside(target)
    if aside and not target.exists():  # a run was killed between its two renames
        os.rename(aside[-1], target)
    check_target(target)
    partial = beside(target, "partial")
    lock = _take(partial)
    try:
        mode = _mode_of(target)
        if mode is not None:  # nobody else may read a private pack while it is written
            _set_mode(partial, mode | stat.S_IRWXU)
        with renamed_later(partial, target):
            try:
                yield partial
            except OSError as error:
                if isinstance(error.filename, str):
                    error.filename = later_name(error.filename)
                raise
            notes = sync_folder(partial)
        notes += _put_in_place(partial, target)
        notes += [] if mode is None else _set_mode(target, mode)
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

    And FileNotFoundError if there is no folder to put it into.
    """
    target = Path(os.path.realpath(path))
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileExistsError(f"{path}: a link that leads to itself, a pack is a folder") from (
                error
            )
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
            f"{target}: there is a folder that is not a pack, which is not overwritten ({error})"
        ) from error
    foreign = sorted(present - manifest.files.keys() - {MANIFEST})
    if foreign:
        raise FileExistsError(
            f"{target}: the pack there is not overwritten, since it also holds {foreign[0]}"
        )


def check_space(path: str | PathLike[str], wanted: int) -> None:
    """Raise OSError (no space left) if the disk says that less than `wanted` bytes are free.

    A disk that cannot tell, or that claims to have no size at all (some FUSE disks), passes.
    """
    folder = Path(os.path.realpath(path)).parent
    try:
        total, _, free = shutil.disk_usage(folder)
    except OSError:
        return
    if total > 0 and free < wanted:
        raise OSError(
            errno.ENOSPC,
            f"the pack takes {wanted / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB free",
            str(path),
        )


def _take(partial: Path) -> int | None:
    """Make the folder, or empty one that a killed run left; keep it locked while it is written."""
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
    except (PermissionError, IsADirectoryError):  # a disk on which folders are not opened
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
    for left in _put_aside(target):
        shutil.rmtree(left, ignore_errors=True)  # the pack there is a later one
    if not target.exists():
        os.rename(partial, target)
        return []
    stay = _put_aside(target)
    number = _number_of(stay[-1], target) + 1 if stay else 0
    old = beside(target, f"old{number or ''}")
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
        stay, why = [*stay, old], f" ({error.strerror})"
    else:
        why = ""
    if not stay:
        return []
    names = ", ".join(map(shown, stay))
    text = f"{shown(target)} is written, but the pack before it stays as {names}{why}"
    return [Note("old pack", text)]


def _put_aside(target: Path) -> list[Path]:
    """List the packs hidden next to `target` (.NAME.old, .NAME.old1), the latest last."""
    first = beside(target, "old")
    try:
        found = [p for p in target.parent.iterdir() if p.name.startswith(first.name)]
    except OSError:  # a folder that cannot be listed, or is not there
        found = [first] if first.exists() else []
    found = [p for p in found if p == first or p.name[len(first.name) :].isdecimal()]
    return sorted(found, key=lambda p: _number_of(p, target))


def _number_of(old: Path, target: Path) -> int:
    return int(old.name[len(beside(target, "old").name) :] or 0)


def _mode_of(target: Path) -> int | None:
    """Return the mode of the pack that is there."""
    return stat.S_IMODE(target.stat().st_mode) if target.is_dir() else None


def _set_mode(folder: Path, mode: int) -> list[Note]:
    if _mode_of(folder) == mode:
        return []
    try:
        os.chmod(folder, mode)
    except OSError as error:
        text = f"{shown(folder)} is written, but this disk does not let its permissions be "
        return [Note("mode", f"{text}{mode:03o} as before (chmod: {error.strerror})")]
    return []
