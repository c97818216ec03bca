"""Folders and tar archives as one stream of named files; nothing is unpacked to disk.

An archive's names are only ever compared and split, never opened, so a name such as ../../etc/x
can do no harm.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pyedge.errors import FormatError

# No single image or batch is larger; a header that claims more is refused before memory is taken.
MAX_MEMBER_BYTES = 1 << 28

_OPENERS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"\xfd7zXZ\x00", lzma.open),
    (b"BZh", bz2.open),
)


class Entry(NamedTuple):
    """A file (`read` gives its bytes) or a folder (`read` is None); `name` is relative, with /."""

    name: str
    read: Callable[[], bytes] | None


def walk(path: str | os.PathLike[str], wanted: Callable[[str], bool]) -> Iterator[Entry]:
    """Yield the folders and the wanted files of a folder or of a .tar, .tar.gz, .tar.xz, .tar.bz2.

    Hidden names (.DS_Store, ._x, __MACOSX) are left out. Raises FileNotFoundError for a path that
    is not there, FormatError for an archive that is truncated, altered, or no archive at all;
    an archive is read to its end, so that its checksums are checked.
    """
    root = Path(path)
    if root.is_dir():
        return _walk_folder(root, wanted)
    if root.is_file():
        return _walk_archive(root, wanted)
    raise FileNotFoundError(f"{root}: wanted a folder or an archive of images, found nothing")


def _hidden(name: str) -> bool:
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def _walk_folder(root: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    seen = set()
    # Class folders are often links to folders elsewhere; a link back up would never end.
    for folder, below, files in os.walk(root, followlinks=True):
        identity = os.path.realpath(folder)
        if identity in seen:
            below.clear()
            continue
        seen.add(identity)
        below[:] = sorted(name for name in below if not _hidden(name))
        here = Path(folder)
        for name in below:
            yield Entry((here / name).relative_to(root).as_posix(), None)
        for name in sorted(files):
            file = here / name
            if not _hidden(name) and wanted(name):
                yield Entry(file.relative_to(root).as_posix(), file.read_bytes)


class _Recorder:
    """A read-only file that remembers the last block read: the one that made tarfile stop."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.last = b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        # Reached by headers that claim an absurd size; Python's files make room for it first.
        if size > MAX_MEMBER_BYTES:
            raise FormatError(f"a header claims {size} bytes, more than {MAX_MEMBER_BYTES}")
        self.last = self.file.read(size)
        return self.last


def _walk_archive(path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    with path.open("rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        opener = next((o for prefix, o in _OPENERS if magic.startswith(prefix)), None)
        file = opener(raw, "rb") if opener else raw
        members = _members(file)
        while True:
            # tarfile and the decompressors have many ways to say that bytes are wrong; the consumer
            # of this generator runs outside the try, so its errors are not taken for them.
            try:
                member, data = _next_wanted(members, wanted)
            except FormatError as error:
                raise FormatError(f"{path}: {error}") from error
            except (
                *(tarfile.TarError, zlib.error, lzma.LZMAError, OSError, EOFError),
                *(ValueError, ArithmeticError, LookupError, RecursionError),
            ) as error:
                raise FormatError(
                    f"{path}: not a tar archive, or truncated or altered: {error}"
                ) from error
            if member is None:
                return
            name = member.name.strip("/").removeprefix("./")
            yield Entry(name, None if data is None else _give(data))


def _give(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _members(file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the members in order, then check that the archive ends where it says it ends."""
    recorder = _Recorder(file)
    with tarfile.open(fileobj=recorder, mode="r:") as archive:  # type: ignore[call-overload]
        while (member := archive.next()) is not None:
            yield member, archive
            archive.members.clear()  # tarfile keeps every header: 60,000 take 60 MB
        # tarfile takes a bad or missing header after the first for the end of the archive.
        if recorder.last != bytes(tarfile.BLOCKSIZE):
            raise FormatError("the archive breaks off or is damaged: it has no end marker")
    # Checksums of gzip and xz come last: read on to have them compared.
    while file.read(1 << 20):
        pass


def _next_wanted(
    members: Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]], wanted: Callable[[str], bool]
) -> tuple[tarfile.TarInfo | None, bytes | None]:
    for member, archive in members:
        parts = member.name.strip("/").removeprefix("./").split("/")
        if any(_hidden(part) for part in parts):
            continue
        if member.isdir():
            return member, None
        if not wanted(parts[-1]):
            continue
        if not member.isfile():
            raise FormatError(f"{member.name} is a link or a device: pack the file itself")
        if member.size > MAX_MEMBER_BYTES:
            raise FormatError(
                f"{member.name} claims {member.size} bytes, more than {MAX_MEMBER_BYTES}"
            )
        stream = archive.extractfile(member)
        data = stream.read() if stream is not None else b""
        if len(data) != member.size:
            raise FormatError(f"{member.name} has {len(data)} bytes, wanted {member.size}")
        return member, data
    return None, None
