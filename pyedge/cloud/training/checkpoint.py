"""Checkpoints of a training run: written atomically, checked when read."""

from __future__ import annotations

from os import PathLike
from typing import Any

from pyedge.cloud.tensor_file import read_tensors, write_tensors
from pyedge.errors import FormatError

FORMAT = "pyedge-checkpoint"
VERSION = 1
_WHAT = "a checkpoint of pyedge"


def save_checkpoint(path: str | PathLike[str], state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, which always holds the old state or the new one.

    Raises OSError if that fails; the old file is then untouched.
    """
    write_tensors(path, {"format": FORMAT, "version": VERSION, **state})


def load_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a file of `save_checkpoint`.

    Nothing but tensors and plain values is unpickled. Raises FormatError for a truncated, altered
    or foreign file and FileNotFoundError if there is none.
    """
    state = read_tensors(path, _WHAT)
    if state.get("format") != FORMAT:
        raise FormatError(f"{path}: not {_WHAT}")
    if state.get("version") != VERSION:
        raise FormatError(
            f"{path}: a checkpoint of version {state.get('version')!r}; this pyedge reads {VERSION}"
        )
    return state
