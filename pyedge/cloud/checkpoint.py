"""Checkpoints of a training run: written atomically, read without trust."""

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

FORMAT = "pyedge-checkpoint"
VERSION = 1


def save_checkpoint(path: str | PathLike[str], state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, so that it holds the old state or the new one.

    The file is written beside, flushed to the disk and renamed. Raises OSError where that fails;
    the old file is then untouched.
    """
    target = Path(path)
    handle, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": FORMAT, "version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        os.unlink(beside)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut; only POSIX can open a folder for this."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a file of `save_checkpoint`.

    Every byte is checked against the archive's checksums, and nothing but tensors and plain values
    is unpickled. Raises FormatError for a truncated, altered or foreign file and FileNotFoundError
    where there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise FormatError(f"{path}: not a whole checkpoint, {damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (
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
    ) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: not a checkpoint of pyedge, or a damaged one") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise FormatError(f"{path}: not a checkpoint of pyedge")
    if state.get("version") != VERSION:
        raise FormatError(
            f"{path}: a checkpoint of version {state.get('version')!r}; this pyedge reads {VERSION}"
        )
    return state
