"""Fuzz the reader of student files: any bytes give a FormatError or a student that can be used.

    python tests/fuzz/fuzz_student_file.py -runs=20000

Needs atheris (pip install atheris); without it, it says so and ends with exit code 0. An input is
laid over a part of a good file; or over a part of one member of the archive, whose checksum is made
good again, which leads past the CRC to the checks behind it; or it says which values of the
description are replaced by which others. A student that is not refused must go into the engine, and
come back the same from another file. Anything but FormatError that comes out is a finding.
"""

from __future__ import annotations

import copy
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # student_files

import numpy as np
from harness import fuzz
from student_files import every_operator, same

from pyedge import npy_archive, student_checks, student_file, student_graph
from pyedge.errors import FormatError
from pyedge.student import StudentFile
from pyedge.student_file import read_student, write_student

_NUMBERS = "0, 1, 2, 3, 5, 6, 8, 15, 16, 1023, 1025, 1048576, -1, -2, 0.5, 1e-40, 1e300, -0.5"
_TEXTS = '"", "x", "stem", "relu", "affine", "add", "flatten", "\\n"'
_OTHERS = 'null, true, [], [1], {}, [1, 1], [0, 0], [2, 2], [1024, 1024], {"kind": "none"}'
_VALUES = [10**400, *json.loads(f"[{_NUMBERS}, {_TEXTS}, {_OTHERS}]")]


class Target:
    """A good file in a folder, and what an input does to it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.copy = folder / "student.pyedge", folder / "copy.pyedge"
        write_student(self.path, every_operator())
        self.good = self.path.read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.names = ["graph.json"] * len(self.members) + list(self.members)  # half of the effort
        self._use(read_student(self.path))  # what inputs are laid over is a good file

    def __call__(self, data: bytes) -> None:
        """Read the file that an input makes."""
        if len(data) < 7:
            return
        kind, which, *place = data[:7]
        rest = data[7:]
        if kind % 3 == 0:
            bad = _laid_over(self.good, place, rest)
        elif kind % 3 == 1:
            name = self.names[which % len(self.names)]
            bad = self._packed({**self.members, name: _laid_over(self.members[name], place, rest)})
        else:
            edited = json.dumps(_edited(json.loads(self.members["graph.json"]), data[1:]))
            bad = self._packed({**self.members, "graph.json": edited.encode()})
        self.path.write_bytes(bad)
        try:
            student = read_student(self.path)
        except FormatError:
            return
        self._use(student)

    def _packed(self, members: dict[str, bytes]) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        return stream.getvalue()

    def _use(self, student: StudentFile) -> None:
        write_student(self.copy, student)
        again = read_student(self.copy)
        assert same(student, again)
        assert student.structure_digest == again.structure_digest
        engine = student.engine()
        # a description of a few kilobytes can ask for a gigabyte of maps: that is the caller's call
        if engine.memory(1, False) < 1 << 24:
            images = np.zeros((1, *student.input_shape), np.uint8)
            assert engine.predict(images).shape == (1, len(student.classes))


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


if __name__ == "__main__":
    sys.exit(fuzz(Target, (npy_archive, student_checks, student_file, student_graph)))
