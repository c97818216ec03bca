"""The .npy files of a pack, written a few rows at a time: memory never holds a whole file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pyedge.files.disk import sync_file
from pyedge.knowledge.format import FileRecord, Spec

_READ_BYTES = 1 << 20


class NpyWriter:
    """One .npy file, filled row by row in any order; rows in order are hashed as they pass.

    It uses plain writes: with a memory map, a full disk would end the process by a signal.
    in_memory: keep the file in memory, where `path` is no more than its name; `content` has it.
    """

    def __init__(self, path: Path, spec: Spec, *, in_memory: bool = False) -> None:
        self.path = path
        self.spec = spec
        self._row_bytes = spec.nbytes // spec.shape[0]
        self._written = np.zeros(spec.shape[0], dtype=bool)
        self._file: BinaryIO = io.BytesIO() if in_memory else path.open("wb")
        with self._named():
            self._file.write(spec.header)
        self._digest: Any = hashlib.sha256(spec.header)
        self._next = 0

    def put(self, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Write values [n, ...] as these rows, which rise."""
        assert values.shape == (len(rows), *self.spec.shape[1:])
        assert values.dtype == np.dtype(self.spec.dtype)
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        for run in _runs(rows):
            first = int(rows[run.start])
            part = values[run].data
            if first != self._next:
                self._digest = None  # `finish` reads the file again
                with self._named():
                    self._file.seek(len(self.spec.header) + first * self._row_bytes)
            elif self._digest is not None:
                self._digest.update(part)
            with self._named():
                self._file.write(part)
            self._next = first + len(part)
        self._written[rows] = True

    def finish(self, *, durable: bool = True) -> FileRecord:
        """Flush the file to the disk, and return its size and digest.

        durable: whether it must survive a power cut.
        """
        assert self._written.all()
        if isinstance(self._file, io.BytesIO):
            digest = self._digest or hashlib.sha256(self._file.getbuffer())
            return FileRecord(self.spec.file_bytes, digest.hexdigest())
        if durable:
            for note in sync_file(self._file, self.path):
                note.tell()
        with self._named():
            self._file.close()
        digest = self._digest or _digest_of(self.path)
        return FileRecord(self.spec.file_bytes, digest.hexdigest())

    def content(self) -> bytes:
        """Return the bytes of a file in memory."""
        assert isinstance(self._file, io.BytesIO)
        return self._file.getvalue()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Add the file's name to an error, since write errors lack it."""
        try:
            yield
        except OSError as error:
            raise OSError(*error.args[:2], str(self.path)) from error

    def close(self) -> None:
        """Close the file, finished or not."""
        with contextlib.suppress(OSError):  # the full disk that ended the run, once more
            self._file.close()


def _runs(rows: NDArray[np.int64]) -> Iterator[slice]:
    """Cut rising rows into stretches without gaps."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    ends = [0, *breaks.tolist(), len(rows)]
    return (slice(a, b) for a, b in itertools.pairwise(ends) if b > a)


def _digest_of(path: Path) -> Any:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    return digest
