"""Archives: a zip of a JSON document and .npy arrays, which `numpy.load` opens without pickle.

Written atomically, and the same content always gives the same bytes. Checked when read: a member's
size, dtype and shape are known before it is unpacked, and its CRC is checked meanwhile.
"""

from __future__ import annotations

import ast
import io
import json
import math
import os
import struct
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import shown
from pyedge.errors import FormatError
from pyedge.files.atomic import write_atomically
from pyedge.files.locks import ForkSafeLock

DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
_MOST_DIMENSIONS = 8
_LONGEST_DOCUMENT = 1 << 24  # bytes of JSON; the largest students take some 100 kB
_MOST_MEMBERS = 1 << 16
_DATE = (1980, 1, 1, 0, 0, 0)  # the zip format's first; no clock in the bytes
# what zipfile is known to raise on bytes that are not an archive
_UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    KeyError,
    IndexError,
    ValueError,
    OverflowError,
    struct.error,
)
# and what comes of bytes that are no header of an array
_NO_HEADER = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    RecursionError,
    MemoryError,
    Warning,
)
_LONGEST_HEADER = 10_000  # numpy's own limit
# CPython before 3.11.5 may fail where two threads parse Python at once (SystemError, gh-106905)
_parsing = ForkSafeLock()
_HEADERS = {
    (1, 0): ("<H", np.lib.format.read_array_header_1_0),
    (2, 0): ("<I", np.lib.format.read_array_header_2_0),
}


@dataclass(frozen=True)
class ArraySpec:
    """What an array is before it is read: the name of its dtype, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: NDArray[Any]) -> ArraySpec:
        """Describe an array."""
        return cls(array.dtype.name, array.shape)

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def write_archive(
    path: str | PathLike[str], document: dict[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write graph.json (`document`) and each array as NAME.npy, atomically.

    Raises OSError if that fails, ValueError for values that JSON cannot hold or an array of a dtype
    that is not one of `DTYPES`; an old file is then untouched.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            _add(archive, "graph.json", text.encode())
            for name, array in arrays.items():
                if array.dtype.name not in DTYPES:
                    raise ValueError(
                        f"write_archive: {name}: wanted one of the dtypes {', '.join(DTYPES)}, "
                        f"got {array.dtype}"
                    )
                stream = io.BytesIO()
                # little-endian on any machine; ascontiguousarray would make a scalar an array [1]
                plain = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
                np.lib.format.write_array(stream, plain, version=(1, 0), allow_pickle=False)
                _add(archive, f"{name}.npy", stream.getvalue())

    write_atomically(path, write)


def _add(archive: zipfile.ZipFile, member: str, data: bytes) -> None:
    info = zipfile.ZipInfo(member, _DATE)
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


class Archive:
    """An archive that is open for reading; every fault in it is a FormatError that names it."""

    def __init__(self, path: str | PathLike[str], what: str, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._what = what
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}

    def check_members(self, size: int) -> None:
        """Check the list of members: none twice, none compressed, none larger than the file."""
        members = self._archive.infolist()
        if len(members) > _MOST_MEMBERS:
            self.fail(f"holds {len(members)} members, more than any file of this kind")
        for member in members:
            if member.filename in self._members:
                self.fail(f"holds {member.filename!r} twice")
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                self.fail(f"{member.filename!r}: wanted it stored, got it compressed or encrypted")
            if member.compress_size != member.file_size:
                self.fail(f"{member.filename!r} has two sizes")
            self._members[member.filename] = member
        # overlapping members would let a small file unpack to a large one
        if sum(member.file_size for member in members) > size:
            self.fail("the members are larger than the file")

    def fail(self, reason: str) -> NoReturn:
        """Raise a FormatError about this file."""
        raise FormatError(f"{self._path}: {reason}")

    def document(self) -> dict[str, Any]:
        """Read graph.json, an object; no key may stand twice, and no number may be NaN."""
        member = self._members.get("graph.json")
        if member is None:
            self.fail(f"not {self._what} (no graph.json in it)")
        if member.file_size > _LONGEST_DOCUMENT:
            self.fail(f"graph.json has {member.file_size} bytes, too many for such a file")
        try:
            text = self._bytes("graph.json").decode()
            document = json.loads(
                text,
                object_pairs_hook=_object,
                parse_constant=_no_constant,
                parse_float=_finite,
            )
            if "\\ud" in text.lower():  # half of a surrogate pair is no text that can be written
                json.dumps(document, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{self._path}: graph.json cannot be read: {error}") from error
        if not isinstance(document, dict):
            self.fail(f"graph.json: wanted an object, got {shown(document)}")
        return document

    def check_names(self, arrays: Mapping[str, ArraySpec]) -> None:
        """Compare the members with the arrays that the file must have, and with their sizes."""
        expected = {"graph.json"} | {f"{name}.npy" for name in arrays}
        for name in sorted(expected ^ self._members.keys()):
            self.fail(
                f"lacks {name!r}" if name in expected else f"holds {name!r}, which is unknown"
            )
        for name, spec in arrays.items():
            size = math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
            if not 0 <= self._members[f"{name}.npy"].file_size - size <= 1 << 16:
                self.fail(f"{name}.npy has not the size of {spec}")

    def array(self, name: str, spec: ArraySpec) -> NDArray[Any]:
        """Read an array that must be as `spec` says; it is read-only and in C order."""
        data = self._bytes(f"{name}.npy")
        stream = io.BytesIO(data)
        try:
            shape, fortran, dtype = _header(stream)
        except _NO_HEADER as error:
            raise FormatError(f"{self._path}: {name}.npy has no numpy header") from error
        wanted = np.dtype(spec.dtype).newbyteorder("<")
        if dtype != wanted or shape != spec.shape or (fortran and len(shape) > 1):
            order = " in Fortran order" if fortran else ""
            self.fail(f"{name}.npy: wanted {spec}, got {dtype} {list(shape)}{order}")
        start = stream.tell()
        if len(data) - start != math.prod(shape) * dtype.itemsize:
            self.fail(f"{name}.npy has not the size of {spec}")
        array = np.frombuffer(data, dtype, offset=start).reshape(shape)
        if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
            self.fail(f"{name}.npy holds truth values other than 0 and 1")
        array = array.astype(dtype.newbyteorder("="), copy=False)
        array.flags.writeable = False
        return array

    def _bytes(self, member: str) -> bytes:
        try:
            return self._archive.read(self._members[member])  # checks the CRC as well
        except _UNREADABLE as error:
            raise FormatError(f"{self._path}: damaged at {member}") from error


@contextmanager
def open_archive(path: str | PathLike[str], what: str) -> Iterator[Archive]:
    """Open an archive; `what` names the kind of file wanted, for the messages.

    Raises FormatError for a file that is not an archive or is truncated, OSError if it cannot be
    opened.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            opened = zipfile.ZipFile(file)
        except _UNREADABLE as error:
            raise FormatError(f"{path}: not {what}, or a truncated one") from error
        with opened:
            archive = Archive(path, what, opened)
            archive.check_members(size)
            yield archive


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"a .npy file of version {version}")
    size_format, read = _HEADERS[version]
    start = stream.tell()
    (size,) = struct.unpack(size_format, stream.read(struct.calcsize(size_format)))
    if size > _LONGEST_HEADER:
        raise ValueError(f"a header of {size} bytes")
    text = stream.read(size).decode("latin1")
    stream.seek(start)
    with _parsing:
        # numpy repairs a header of Python 2, which none of ours needs, and warns. To make an error
        # of its warning would change the warnings of all threads, and two would leave them so.
        ast.literal_eval(text)
        return read(stream)


def spec_of(value: Any) -> ArraySpec | None:
    """Read {"dtype": ..., "shape": [...]} of a document; None for anything else."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape"}:
        return None
    dtype, shape = value["dtype"], value["shape"]
    if dtype not in DTYPES or not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS:
        return None
    if not all(type(size) is int and 0 <= size < 1 << 31 for size in shape):
        return None
    return ArraySpec(dtype, tuple(shape))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return content


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value
