"""A good archive of pyedge's, and what an input does to it.

An input is laid over a part of the file; or over a part of one member, whose checksum is made good
again, which leads past the CRC to the checks behind it; or it says which values of the description
are replaced by which others.
"""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyedge.errors import FormatError

_NUMBERS = "0, 1, 2, 3, 5, 6, 8, 15, 16, 1023, 1025, 1048576, -1, -2, 0.5, 1e-40, 1e300, -0.5"
_TEXTS = '"", "x", "stem", "relu", "affine", "add", "flatten", "\\n"'
_OTHERS = 'null, true, [], [1], {}, [1, 1], [0, 0], [2, 2], [1024, 1024], {"kind": "none"}'
_VALUES = [10**400, *json.loads(f"[{_NUMBERS}, {_TEXTS}, {_OTHERS}]")]


class ArchiveTarget:
    """A good file, how it is read, and what a value that was read must be able to do.

    Anything but FormatError that comes out of either is a finding.
    """

    def __init__(self, path: Path, read: Callable[[Path], Any], use: Callable[[Any], None]) -> None:
        self._path, self._read, self._use = path, read, use
        self._good = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            self._members = {name: archive.read(name) for name in archive.namelist()}
        self._description = next(name for name in self._members if name.endswith(".json"))
        # half of the effort
        self._names = [self._description] * len(self._members) + list(self._members)
        use(read(path))  # what inputs are laid over is a good file

    def __call__(self, data: bytes) -> None:
        """Read the file that an input makes."""
        if len(data) < 7:
            return
        kind, which, *place = data[:7]
        rest = data[7:]
        if kind % 3 == 0:
            bad = _laid_over(self._good, place, rest)
        elif kind % 3 == 1:
            name = self._names[which % len(self._names)]
            bad = self._packed(name, _laid_over(self._members[name], place, rest))
        else:
            edited = json.dumps(_edited(json.loads(self._members[self._description]), data[1:]))
            bad = self._packed(self._description, edited.encode())
        self._path.write_bytes(bad)
        try:
            found = self._read(self._path)
        except FormatError:
            return
        self._use(found)

    def _packed(self, name: str, data: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for each, content in {**self._members, name: data}.items():
                archive.writestr(zipfile.ZipInfo(each), content)
        return stream.getvalue()


def _laid_over(good: bytes, place: list[int], rest: bytes) -> bytes:
    """Put `rest` in the place of a part of `good`: where, and how much, is said by four bytes."""
    start = (place[0] * 256 + place[1]) % (len(good) + 1)
    length = min(place[2] * 256 + place[3], len(good) - start) if place[4] % 2 else len(rest)
    return good[:start] + rest + good[start + length :]


def _edited(document: Any, data: bytes) -> Any:
    """Three bytes an edit: which value of the description is replaced, and by which."""
    for i in range(0, len(data) - 2, 3):
        places = list(_places(document))
        holder, key = places[(data[i] * 256 + data[i + 1]) % len(places)]
        if data[i + 2] < 8:
            del holder[key]
        elif data[i + 2] < 128:
            holder[key] = copy.deepcopy(_VALUES[data[i + 2] % len(_VALUES)])
        else:  # another value of the description, where it does not belong
            other, name = places[data[i + 2] * 7 % len(places)]
            holder[key] = copy.deepcopy(other[name])
        if not document:
            break
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested lists and objects, as what holds it and its index or key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)
