"""Files of tensors and plain values: written atomically, read without trust."""

from __future__ import annotations

import os
import pickle
import tempfile
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from pyedge.errors import FormatError

# What zipfile and torch.load are known to raise on bytes that are not theirs.
_UNREADABLE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ValueError,
    OverflowError,
)


def write_tensors(path: str | PathLike[str], content: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, which holds the old content or the new one.

    The file is written beside, flushed to the disk and renamed; it gets the permissions of any new
    file. Raises OSError where that fails; the old file is then untouched.
    """
    target = Path(path)
    handle, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(content, file)
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


def read_tensors(path: str | PathLike[str], what: str) -> dict[str, Any]:
    """Read a file of `write_tensors`; `what` names the kind of file wanted, for the messages.

    Every byte is checked against the archive's checksums, nothing but tensors and plain values is
    unpickled, and an archive that would unpack to more than its own size is refused. Raises
    FormatError for a truncated, altered or foreign file, FileNotFoundError where there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # torch stores without compression; a compressed member is not torch's, and may be huge
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise FormatError(f"{path}: not {what} (a compressed archive)")
            damaged = archive.testzip()
        if damaged is not None:
            raise FormatError(f"{path}: damaged at {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError, FormatError):
        raise
    except zipfile.BadZipFile as error:
        raise FormatError(f"{path}: not {what}, or a truncated one") from error
    except _UNREADABLE as error:
        raise FormatError(f"{path}: not {what}, or a damaged one") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path}: not {what}")
    return content
