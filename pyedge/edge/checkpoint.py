"""Checkpoints of a run on the device: one file, written atomically and checked when read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import shown
from pyedge.errors import FormatError
from pyedge.files.npy_archive import ArraySpec, open_archive, spec_of, write_archive

FORMAT = "pyedge-learning"
VERSION = 1
_WHAT = "a checkpoint of pyedge's learner"
_PARTS = ("now", "best", "optimizer")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a run stands. Arrays that learning does not change are left out: the student has them.

    identity: what decides the result, as text by name. state: plain values. now and best: arrays
    by name, current and as of the best evaluation. optimizer: its slots.
    """

    identity: Mapping[str, str]
    state: Mapping[str, Any]
    now: Arrays
    best: Arrays
    optimizer: Arrays


def write_checkpoint(path: str | PathLike[str], checkpoint: Checkpoint) -> None:
    """Write to `path`, which always holds either the old checkpoint or the new one, never a part.

    Raises OSError if that fails, for example on a full disk; the old file is then untouched.
    """
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "identity": dict(checkpoint.identity),
        "state": dict(checkpoint.state),
    }
    members = {}
    for part in _PARTS:
        document[part] = {}
        for name, array in getattr(checkpoint, part).items():
            document[part][name] = {"dtype": array.dtype.name, "shape": list(array.shape)}
            members[_member(part, name)] = array
    write_archive(path, document, members)


def read_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Read a file of `write_checkpoint`.

    Raises FormatError for a truncated, altered or foreign file, OSError if it cannot be opened.
    """
    with open_archive(path, _WHAT) as archive:
        document = archive.document()
        if document.get("format") != FORMAT:
            archive.fail(f"not {_WHAT}")
        if document.get("version") != VERSION:
            archive.fail(
                f"a checkpoint of version {document.get('version')!r}; this pyedge reads {VERSION}"
            )
        specs: dict[str, ArraySpec] = {}
        for part in ("identity", "state", *_PARTS):
            if not isinstance(document.get(part), dict):
                archive.fail(f"graph.json lacks {part!r}")
        for part in _PARTS:
            for name, value in document[part].items():
                spec = spec_of(value)
                if spec is None:
                    archive.fail(
                        f"{part}: {name!r}: wanted a known dtype and a shape, got {shown(value)}"
                    )
                specs[_member(part, name)] = spec
        archive.check_names(specs)
        arrays: dict[str, dict[str, NDArray[Any]]] = {part: {} for part in _PARTS}
        for member, spec in specs.items():
            part, _, name = member.partition("/")
            array = archive.array(member, spec)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                archive.fail(f"{member} holds NaN or infinity")
            arrays[part][unquote(name)] = array
        return Checkpoint(document["identity"], document["state"], **arrays)


def check_same_run(
    path: str | PathLike[str], there: Mapping[str, str], here: Mapping[str, str]
) -> None:
    """Raise FormatError, naming a difference, if a checkpoint is of another run than this one."""
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise FormatError(
                f"{path}: the checkpoint is of another run: {name} is {there.get(name)} there and "
                f"{here.get(name)} here"
            )


def _member(part: str, name: str) -> str:
    return f"{part}/{quote(name, safe='')}"
