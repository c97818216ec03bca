"""Where a command writes: its result, and the checkpoint next to it during the work."""

from __future__ import annotations

import os
from pathlib import Path

from pyedge.cli.parsing import UsageError
from pyedge.files.atomic import find_target
from pyedge.files.disk import Note, shown


def check_out(out: str, *inputs: str | None, checkpoint: bool = False) -> None:
    """Check, before hours of work, that the result can be written and overwrites no input.

    checkpoint: the command also keeps a checkpoint next to it.
    """
    if os.path.isdir(out):
        raise UsageError(f"--out {out} is a folder, wanted the name of a file")
    try:
        target = find_target(out)
        beside = find_target(checkpoint_of(out)) if checkpoint else None
    except FileNotFoundError as error:
        missing = error.filename if os.path.islink(out) else Path(out).parent
        raise UsageError(f"--out {out}: there is no folder {missing}") from error
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from error
    for each in (target, beside):
        if each is None or each.stream or os.access(each.path.parent, os.W_OK):
            continue
        if each.before is None:
            raise UsageError(f"--out {out}: the folder {each.path.parent} cannot be written to")
    for path in inputs:
        if path is not None and target.before is not None and os.path.samefile(path, out):
            raise UsageError(f"--out {out} would replace {path}, which this command reads")


def checkpoint_of(out: str) -> Path:
    """Return where the training of `out` keeps its state until it is done."""
    return Path(f"{out}.checkpoint")


def forget_checkpoint(out: str) -> None:
    """Remove the checkpoint of a run whose result is written; failing to is only a note."""
    checkpoint = checkpoint_of(out)
    try:
        checkpoint.unlink(missing_ok=True)
    except OSError as error:
        Note("checkpoint", f"{shown(checkpoint)} cannot be removed ({error.strerror})").tell()
