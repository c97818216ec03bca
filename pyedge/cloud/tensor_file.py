"""Files of tensors and plain values: written atomically, checked when read."""

from __future__ import annotations

import pickle
import zipfile
from os import PathLike
from typing import Any

import torch

from pyedge.errors import FormatError
from pyedge.files.atomic import write_atomically

_FOLDER = 0x10  # of a member's attributes, as MS-DOS has them
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
    """Write tensors and plain values to `path`, which always holds the old content or the new.

    Raises OSError if that fails; the old file is then untouched.
    """
    write_atomically(path, lambda file: torch.save(content, file))


def says_folder(member: zipfile.ZipInfo) -> bool:
    """Tell whether a file of an archive says that it is a folder: torch reads nothing of it then,
    and leaves its tensor as memory happened to be."""
    return bool(member.external_attr & _FOLDER) and not member.is_dir()


def read_tensors(path: str | PathLike[str], what: str) -> dict[str, Any]:
    """Read a file of `write_tensors`; `what` names the kind of file wanted, for the messages.

    Every byte is checked against the archive's checksums, nothing but tensors and plain values is
    unpickled, and an archive that would unpack to more than its own size is refused. Raises
    FormatError for a truncated, altered or foreign file, FileNotFoundError if there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.filename == "graph.json" for member in members):
                raise FormatError(
                    f"{path}: wanted {what}, got a file of the device's side, as pyedge export "
                    "writes them; pyedge predict, learn, evaluate and inspect take those"
                )
            # torch stores without compression; a compressed member is not torch's, and may be huge
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise FormatError(f"{path}: not {what} (a compressed archive)")
            folders = (member.filename for member in members if says_folder(member))
            damaged = archive.testzip() or next(folders, None)
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
