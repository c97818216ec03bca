"""The files below a folder, in the order of their names; links are followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pyedge.images import file_kinds
from pyedge.images.entries import Choice, Entry


def walk_folder(root: Path, choice: Choice) -> Iterator[Entry]:
    """Yield the folders and the chosen files below `root`; OSError if one cannot be listed."""
    seen: set[str] = set()
    waiting = [("", os.path.realpath(root))]  # relative name, and where that really is
    links: list[tuple[str, str]] = []  # looked into at last, so that a class is found in its place
    while waiting or links:
        folder, real = waiting.pop() if waiting else links.pop(0)
        if real in seen:
            choice.left_out.add(f"{folder}/", "a link to a folder that is read already")
            continue
        seen.add(real)
        below: list[tuple[str, str]] = []
        files: list[Entry] = []
        with os.scandir(root / folder) as listing:
            found = sorted(listing, key=lambda entry: entry.name)
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            kind = _kind(entry)
            if kind == "folder":
                # Class folders are often links to folders elsewhere; one back up never ends.
                identity = os.path.realpath(entry.path) if entry.is_symlink() else None
                if not choice.enters(name) or _goes_up(identity, real):
                    continue
                yield Entry(name, None)
                if identity is None:
                    below.append((name, os.path.join(real, entry.name)))
                else:
                    links.append((name, identity))
            elif kind == "file":
                files += _file(Path(entry.path), name, choice)
            elif choice.looks_at(name):
                choice.left_out.add(name, kind)
        yield from files
        waiting += reversed(below)


def _kind(entry: os.DirEntry[str]) -> str:
    """Return "folder", "file", or why an entry is neither."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError as error:  # links in a circle
        return f"cannot be read: {error.strerror}"
    return "a broken link" if entry.is_symlink() else "a pipe, a socket or a device"


def _goes_up(link: str | None, real: str) -> bool:
    return link is not None and (real == link or real.startswith(link.rstrip(os.sep) + os.sep))


def _file(path: Path, name: str, choice: Choice) -> Iterator[Entry]:
    if not choice.looks_at(name):
        return
    head = b""
    if not choice.by_name(name):
        try:
            with path.open("rb") as file:
                head = file.read(file_kinds.HEAD_BYTES)
        except OSError as error:
            choice.left_out.add(name, f"cannot be read: {error.strerror}")
            return
    if choice.takes(name, head):
        yield Entry(name, path.read_bytes)
