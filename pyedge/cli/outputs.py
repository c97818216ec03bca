"""Where a command writes: its result, and the checkpoint beside it while the work goes on."""

from __future__ import annotations

import os
from pathlib import Path

from pyedge.cli.parsing import UsageError


def check_out(out: str, *inputs: str | None) -> None:
    """Make sure, before hours of work, that the result can be written and hides no input."""
    target = Path(out)
    folder = target.parent
    if target.is_dir():
        raise UsageError(f"--out {out} is a folder, wanted the name of a file")
    if not folder.is_dir():
        raise UsageError(f"--out {out}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--out {out}: the folder {folder} cannot be written to")
    for path in inputs:
        if path is not None and target.exists() and os.path.samefile(path, target):
            raise UsageError(f"--out {out} would replace {path}, which this command reads")


def checkpoint_of(out: str) -> Path:
    """Where the training of `out` keeps its state until it is done."""
    return Path(f"{out}.checkpoint")
