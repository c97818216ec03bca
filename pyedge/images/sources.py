"""Folders, archives and single images as one stream of named files; nothing is unpacked to disk.

Names in an archive are only compared and split, never opened, so a name such as ../../etc/x can do
no harm.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pyedge.errors import FormatError
from pyedge.images import file_kinds
from pyedge.images.entries import Choice, Entry
from pyedge.images.file_kinds import HEAD_BYTES
from pyedge.images.folder_tree import walk_folder
from pyedge.images.left_out import LeftOut
from pyedge.images.located import located

__all__ = ["Entry", "walk"]

# No single image or batch is larger; a header that claims more is refused before memory is taken.
MAX_MEMBER_BYTES = 1 << 28

_OPENERS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"\xfd7zXZ\x00", lzma.open),
    (b"BZh", bz2.open),
)

# A damaged archive makes the standard library raise what it likes.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError),
    *(ValueError, ArithmeticError, LookupError, RecursionError, RuntimeError, struct.error),
)

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz", ".tbz2")

# Archives that Python cannot read by itself, by their first bytes.
_OTHER_ARCHIVES = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z"),
    (b"Rar!\x1a\x07", "a RAR"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard (.zst)"),
    (b"\x04\x22\x4d\x18", "an LZ4"),
    (b"\x1f\x9d", "a compress (.Z)"),
    (b"LZIP", "an lzip"),
)


def no_others(name: str) -> bool:
    """Accept no files besides images."""
    return False


def walk(
    path: str | os.PathLike[str],
    also: Callable[[str], bool] = no_others,
    left_out: LeftOut | None = None,
) -> Iterator[Entry]:
    """Yield the folders and images of a folder or an archive, or one image.

    Archives are .zip, .tar, .tar.gz, .tar.xz and .tar.bz2, recognised by their bytes. `also` tells
    by a file's base name whether to yield it, too. What file managers leave behind (Thumbs.db,
    .DS_Store, __MACOSX, @eaDir, ...) is skipped; everything else that is not yielded goes to
    `left_out`, with the reason. Raises FileNotFoundError for a path that does not exist, OSError
    for a folder that cannot be read, FormatError for a file that is not an archive of these kinds,
    or is truncated, altered or encrypted.
    """
    root = located(path)
    choice = Choice(also, LeftOut() if left_out is None else left_out)
    if root.is_dir():
        return walk_folder(root, choice)
    if not root.is_file():
        raise FormatError(f"{root}: a pipe, a socket or a device; wanted a folder or an archive")
    with root.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if file_kinds.format_of(head) is not None or file_kinds.is_image(root.name):
        return iter([single(root, head)])
    _refuse_other(root, head)
    return _walk_archive(root, head, choice)


def single(path: Path, head: bytes) -> Entry:
    """Return a file as one image; FormatError for a file of another kind."""
    reason = file_kinds.foreign(head) or file_kinds.raw(path.name)
    if reason is not None:
        raise FormatError(f"{path}: not an image that can be read: {reason}")
    return Entry(path.name, path.read_bytes)


def _refuse_other(path: Path, head: bytes) -> None:
    """Raise FormatError for a file that surely is not an archive of a kind that is read."""
    for magic, kind in _OTHER_ARCHIVES:
        if head.startswith(magic):
            raise FormatError(
                f"{path}: {kind} archive, which is not read; unpack it, or pack it as .zip or "
                f".tar.gz"
            )
    if _is_zip(head) or _is_tar(head) or path.name.lower().endswith(ARCHIVES):
        return
    wanted = "wanted a folder, an image, or an archive (.zip, .tar, .tar.gz, .tar.xz)"
    suffix = file_kinds.suffix_of(path.name)
    if head.startswith(b"\x93NUMPY"):
        raise FormatError(f"{path}: a numpy array; pass numpy.load({str(path)!r})")
    if suffix in (".txt", ".csv", ".tsv", ".json", ".lst"):
        raise FormatError(
            f"{path}: a {suffix} file; {wanted}. For images that it lists, pass a list of their "
            f"paths"
        )
    reason = file_kinds.refused_by_name(path.name) or file_kinds.foreign(head)
    if reason is not None:
        raise FormatError(f"{path}: not an image that can be read: {reason}; {wanted}")
    try:  # the oldest tar archives have no mark, but a checksum
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise FormatError(f"{path}: neither an image nor an archive, or broken; {wanted}") from None


def _is_zip(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a zip archive."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _is_tar(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a tar archive, or may be a compressed one."""
    packed = any(head.startswith(magic) for magic, _ in _OPENERS)
    return packed or head[257:262] == b"ustar"


class _Recorder:
    """A read-only file that remembers the last block read: the one at which tarfile stopped."""

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


def _walk_archive(path: Path, head: bytes, choice: Choice) -> Iterator[Entry]:
    """Yield the folders and the chosen files of a zip or tar archive that begins with `head`.

    Raises FormatError for one that is truncated, altered, encrypted, or not an archive; it is read
    to its end, so that its checksums are checked.
    """
    what = "zip" if _is_zip(head) else "tar"
    with path.open("rb") as raw:
        entries = (_zip_entries if what == "zip" else _tar_entries)(raw, choice)
        while True:
            # The consumer of this generator runs outside the try, so its errors are its own.
            try:
                entry = next(entries, None)
            except FormatError as error:
                raise FormatError(f"{path}: {error}") from error
            except _DAMAGE as error:
                raise FormatError(
                    f"{path}: not a {what} archive, or truncated or altered: {error}"
                ) from error
            if entry is None:
                return
            yield entry


def _give(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _plain(name: str) -> str:
    """Return a name without empty parts and dots: ./cat/1.png, cat//1.png; "." gives ""."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _check_size(name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise FormatError(f"{name} claims {size} bytes, more than {MAX_MEMBER_BYTES}")


def _tar_entries(raw: BinaryIO, choice: Choice) -> Iterator[Entry]:
    magic = raw.read(6)
    raw.seek(0)
    opener = next((o for prefix, o in _OPENERS if magic.startswith(prefix)), None)
    for member, archive in _members(opener(raw, "rb") if opener else raw):
        name = _plain(member.name)
        if member.isdir():
            if name and choice.enters(name):
                yield Entry(name, None)
            continue
        if not choice.looks_at(name):
            continue
        if not member.isfile():
            if choice.by_name(name):
                raise FormatError(f"{member.name} is a link or a device: pack the file itself")
            choice.left_out.add(name, "a link or a device")
            continue
        _check_size(member.name, member.size)
        stream = archive.extractfile(member)
        assert stream is not None  # it is a file
        data = stream.read(HEAD_BYTES)
        if choice.takes(name, data):
            data += stream.read()
            if len(data) != member.size:
                raise FormatError(f"{member.name} has {len(data)} bytes, wanted {member.size}")
            yield Entry(name, _give(data))


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


def _zip_entries(raw: BinaryIO, choice: Choice) -> Iterator[Entry]:
    with zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            name = _zip_name(member)
            if member.is_dir():
                if name and choice.enters(name):
                    yield Entry(name, None)
                continue
            if not choice.looks_at(name):
                continue
            if stat.S_ISLNK(member.external_attr >> 16):
                if choice.by_name(name):
                    raise FormatError(f"{name} is a link: pack the file itself")
                choice.left_out.add(name, "a link")
                continue
            if member.flag_bits & 1:
                raise FormatError(f"{name} is encrypted: unpack the archive with its password")
            _check_size(name, member.file_size)
            with archive.open(member) as stream:
                data = stream.read(HEAD_BYTES)
                if choice.takes(name, data):
                    # zipfile gives no more than was claimed, and compares the checksum at the end
                    data += stream.read()
                    if len(data) != member.file_size:
                        raise FormatError(
                            f"{name} has {len(data)} bytes, wanted {member.file_size}"
                        )
                    yield Entry(name, _give(data))


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Return a member's name as it was meant.

    Some programs write UTF-8 without saying so (macOS), or \\ between folders (older Windows
    programs).
    """
    name = member.filename
    if not member.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = member.filename
    if "/" not in name:
        name = name.replace("\\", "/")
    return _plain(name)
