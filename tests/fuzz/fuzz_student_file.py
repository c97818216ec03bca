"""Fuzz the reader of student files: any bytes give a FormatError or a student that can be used.

    python tests/fuzz/fuzz_student_file.py -runs=20000

Needs atheris (pip install atheris); without it, it says so and ends with exit code 0. A student
that is not refused must go into the engine, and come back the same from another file. What an
input does to a good file, `archives` says.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds tests

import numpy as np

from pyedge.files import npy_archive
from pyedge.student import archive, checks, graph
from pyedge.student.archive import read_student, write_student
from pyedge.student.file import StudentFile
from tests.fuzz.archives import ArchiveTarget
from tests.fuzz.harness import fuzz
from tests.support.student_files import every_operator, same


def target(folder: Path) -> ArchiveTarget:
    """Make a good file in a folder."""
    path, copy = folder / "student.pyedge", folder / "copy.pyedge"
    write_student(every_operator(), path)

    def use(student: StudentFile) -> None:
        write_student(student, copy)
        again = read_student(copy)
        assert same(student, again)
        assert student.structure_digest == again.structure_digest
        engine = student.engine()
        # a description of a few kilobytes can ask for a gigabyte of maps: that is the caller's call
        if engine.memory(1, False) < 1 << 24:
            images = np.zeros((1, *student.input_shape), np.uint8)
            assert engine.predict(images).shape == (1, len(student.classes))

    return ArchiveTarget(path, read_student, use)


if __name__ == "__main__":
    sys.exit(fuzz(target, (npy_archive, checks, archive, graph)))
