"""A path that was given for images: where it is, or what may have been meant."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from pyedge.images.left_out import shown


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as text; TypeError for anything that is not a path."""
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str):
        raise TypeError(f"images: path: wanted a str or a Path, got {type(path).__name__}")
    return name


def located(path: str | os.PathLike[str]) -> Path:
    """Return a path that exists.

    Raises FileNotFoundError that names similar paths, ValueError for an address or an empty path.
    """
    name = path_text(path)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", name) and not os.path.exists(name):
        raise ValueError(
            f"images: path: wanted a file or folder on this machine, got the address {name}; "
            f"download it first"
        )
    if not name.strip():
        raise ValueError("images: path: wanted one, got an empty text; the current folder is '.'")
    found = Path(name)
    if os.path.lexists(found) and not found.exists():
        raise FileNotFoundError(f"{shown(name)}: a link to something that is not there")
    if not found.exists():
        raise FileNotFoundError(
            f"{shown(name)}: wanted a folder or an archive of images, found nothing{_hint(found)}"
        )
    return found


def _hint(missing: Path) -> str:
    """Say what may have been meant by a path that does not exist."""
    name = str(missing)
    if name.startswith("~"):
        return "; ~ is the shell's: os.path.expanduser"
    if any(mark in name for mark in "*?["):
        return "; for a pattern pass glob.glob(...)"
    folder = missing.parent
    try:
        near = difflib.get_close_matches(missing.name, os.listdir(folder), n=1, cutoff=0.6)
    except OSError:
        return ""
    return f" (did you mean {shown(str(folder / near[0]))}?)" if near else ""
