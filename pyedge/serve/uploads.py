"""Uploads: files that devices send in pieces, by the SHA-256 that they will have."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pyedge.errors import FormatError
from pyedge.serve.blobs import digest_of, is_digest
from pyedge.serve.limits import Limits
from pyedge.serve.refusals import RefusalError, invalid
from pyedge.serve.store import Store

T = TypeVar("T")
_PART = ".part"
_OLD_SECONDS = 24 * 3600.0


def _misplaced(here: int, offset: int) -> RefusalError:
    return RefusalError(409, "offset", f"upload: offset: wanted {here}, got {offset}")


class Part:
    """The file of an upload that one request appends to, until a later one takes over."""

    def __init__(
        self, path: Path, offset: int, turns: dict[Path, Part], lock: threading.Lock
    ) -> None:
        self._path = path
        self._turns = turns
        self._lock = lock
        with lock:
            # unbuffered: what a full disk refused must not be written later, behind other bytes
            self._file = path.open("ab", buffering=0)
            here = os.fstat(self._file.fileno()).st_size
            if here != offset:  # another request has written since this one looked
                self._file.close()
                raise _misplaced(here, offset)
            turns[path] = self

    def write(self, piece: bytes) -> None:
        """Append bytes; RefusalError if a later request appends here now."""
        with self._lock:
            if self._turns.get(self._path) is not self:
                raise RefusalError(
                    409, "offset", "upload: wanted the latest request, got an earlier one"
                )
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()  # unbuffered: nothing is left that could fail
            if self._turns.get(self._path) is self:
                del self._turns[self._path]


class Uploads:
    """Each device has a folder of its own; a file there is a part, or complete and checked."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._folder = store.uploads
        self._limits = limits
        self._lock = threading.Lock()
        self._turns: dict[Path, Part] = {}

    def offset(self, device: str, digest: str) -> tuple[int, bool]:
        """Return how many bytes are here, and whether that is all."""
        whole = self._path(device, digest)
        for path, complete in ((whole, True), (whole.with_suffix(_PART), False)):
            try:
                return path.stat().st_size, complete
            except FileNotFoundError:
                continue
        return 0, False

    def open(self, device: str, digest: str, offset: int, length: int, total: int) -> Part:
        """Open a part for `length` bytes at `offset`; RefusalError if they do not belong there.

        total: the size of the whole file.
        """
        limits = self._limits
        if not 1 <= total <= limits.upload_bytes:
            raise RefusalError(
                413,
                "too_large",
                f"upload: bytes: wanted from 1 to {limits.upload_bytes}, got {total}",
            )
        here, done = self.offset(device, digest)
        if done or offset != here or offset + length > total:
            raise _misplaced(here, offset)
        folder = self._folder / device
        folder.mkdir(mode=0o700, exist_ok=True)
        part = self._path(device, digest).with_suffix(_PART)
        self._make_room(folder, part, total - here)
        return Part(part, offset, self._turns, self._lock)

    def finish(self, device: str, digest: str, total: int) -> bool:
        """Tell whether the file is complete now; RefusalError if it then has another digest."""
        whole = self._path(device, digest)
        part = whole.with_suffix(_PART)
        if not part.exists() or part.stat().st_size < total:
            return False
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if digest_of(part) != digest:
            part.unlink()
            raise invalid("upload: digest: wanted the SHA-256 of the file, got another one's")
        os.replace(part, whole)
        return True

    def complete(self, device: str, digest: str) -> Path:
        """Return the path of a complete upload; RefusalError if it is not."""
        whole = self._path(device, digest)
        if not whole.exists():
            raise RefusalError(
                409, "not_uploaded", "wanted a file that is uploaded, got its digest"
            )
        return whole

    def opened(self, path: Path, read: Callable[[Path], T], what: str) -> T:
        """Read an uploaded file, without trust; a bad one is removed and refused.

        The message of the error loses the path, which is the service's own affair.
        """
        try:
            return read(path)
        except FormatError as error:
            path.unlink(missing_ok=True)
            raise invalid(f"{what}: {str(error).replace(str(path), 'the file')}") from None

    def forget(self, device: str, digest: str) -> None:
        """Remove an upload that is not needed, or what there is of it."""
        whole = self._path(device, digest)
        whole.unlink(missing_ok=True)
        whole.with_suffix(_PART).unlink(missing_ok=True)

    def _make_room(self, folder: Path, part: Path, wanted: int) -> None:
        """Refuse more than a device may leave lying about; what is a day old goes first.

        part: which the device goes on with, however old it is. What seems to come from tomorrow is
        old as well: the clock has been set back.
        """
        now, used = time.time(), 0
        for file in folder.iterdir():
            try:
                state = file.stat()
            except FileNotFoundError:  # used, or removed, by another request
                continue
            if file != part and abs(now - state.st_mtime) > _OLD_SECONDS:
                file.unlink(missing_ok=True)
            else:
                used += state.st_size
        if used + wanted > self._limits.pending_bytes:
            raise RefusalError(
                507,
                "no_room",
                f"upload: unused uploads: wanted up to {self._limits.pending_bytes} bytes, got "
                f"{used + wanted}",
            )

    def _path(self, device: str, digest: str) -> Path:
        if not is_digest(digest):
            raise invalid("digest: wanted 64 hexadecimal digits, got something else")
        return self._folder / device / digest
