"""Read the dicts of CIFAR's python archive without letting a pickle run anything.

A pickle is a program: it may import and call. This reader first checks the opcodes (data only, no
absurd memo), and then allows four names, none of which reaches numpy or the standard library: each
is replaced by a few lines below.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np

from pyedge.errors import FormatError

_DATA_OPCODES = frozenset(
    (
        *("PROTO", "FRAME", "MARK", "STOP", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    )
)


class _DType:
    """Stands for numpy.dtype: CIFAR's arrays are of bytes, others are refused."""

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in ("u1", b"u1"):
            raise FormatError(f"an array of dtype {name!r}, wanted uint8")

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment: bytes have none."""


class _Array:
    """Stands for numpy.ndarray; takes shape and bytes once they are known to agree."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise FormatError("an array whose state is not (version, shape, dtype, order, data)")
        _, shape, dtype, fortran, raw = state
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not whole or not isinstance(dtype, _DType) or not isinstance(raw, bytes):
            raise FormatError("an array that is not of plain bytes")
        if math.prod(shape) != len(raw):
            raise FormatError(f"an array of shape {shape} with {len(raw)} bytes of data")
        flat = np.frombuffer(raw, dtype=np.uint8)
        self.value = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise FormatError("an array subclass")
    return _Array()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Stand for _codecs.encode, by which Python 3 writes bytes in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise FormatError("a call of codecs.encode on something else than latin1 text")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise FormatError(f"it asks for {module}.{name}, which data never needs") from None


def load_dict(name: str, data: bytes) -> dict[str, Any]:
    """Read a pickled dict of bytes, text, numbers, lists and uint8 arrays; keys become text.

    Raises FormatError, which names the file, for anything else: another type, another class, a
    broken pickle. Nothing that the file names is imported or called.
    """
    try:
        # The C unpickler makes room for a memo entry's number before it looks at the rest.
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name not in _DATA_OPCODES:
                raise FormatError(f"opcode {opcode.name} is not plain data")
            if isinstance(argument, int) and "PUT" in opcode.name and argument > len(data):
                raise FormatError("an impossible memo entry")
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(found, dict):
            raise FormatError(f"a {type(found).__name__}, wanted a dict")
        return {
            _text(key): value.value if isinstance(value, _Array) else value
            for key, value in found.items()
        }
    except FormatError as error:
        raise FormatError(f"{name}: not a CIFAR batch: {error}") from error
    # A pickle's errors are those of the calls and unpackings that its bytes spell out.
    except Exception as error:
        raise FormatError(f"{name}: a broken pickle: {error}") from error


def _text(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode("latin1")
    if isinstance(key, str):
        return key
    raise FormatError(f"a key of type {type(key).__name__}, wanted text")
