"""Fuzz the readers of what devices send each other: any bytes give a FormatError, or sums.

    python tests/fuzz/fuzz_statistics.py -runs=20000

Needs atheris, as fuzz_student_file.py does. By its first byte an input is for a student's file with
statistics, for statistics, for a category file (mean, low rank, full) or for a memory. Sums that
are not refused must merge with themselves, and come back the same when one of the two is taken out;
a classifier of them is found, or refused with a ValueError.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds tests

import numpy as np

import pyedge
from pyedge.edge import memory_file, replay_memory, solving
from pyedge.files import npy_archive
from pyedge.statistics import category_file, compact, merging, statistics_file, stored
from pyedge.statistics.sums import Statistics
from pyedge.student import archive, checks
from pyedge.student.archive import read_student, write_student
from tests.fuzz.archives import ArchiveTarget
from tests.fuzz.harness import fuzz
from tests.support.edge_student import images, tiny_student


class Target:
    """One target for each kind of file."""

    def __init__(self, folder: Path) -> None:
        warnings.simplefilter("ignore")
        x, y = images(60)
        self._student = pyedge.add_statistics(tiny_student(), x, y, expand=4, forgettable=True)
        assert self._student.statistics is not None
        write_student(self._student, folder / "student.pyedge")
        pyedge.write_statistics(self._student.statistics, folder / "a.sums")
        memory = pyedge.Memory(per_class=3)
        memory.add(self._student, x, y)
        memory.save(folder / "a.memory")
        self._targets = [
            ArchiveTarget(folder / "student.pyedge", read_student, self._use_student),
            ArchiveTarget(folder / "a.sums", pyedge.read_statistics, self._use_sums),
            ArchiveTarget(folder / "a.memory", pyedge.read_memory, _use_memory),
        ]
        name = tiny_student().classes[0]
        for detail in ("mean", "low_rank", "full"):
            path = folder / f"{detail}.category"
            more = {"rank": 2} if detail == "low_rank" else {}
            pyedge.make_category(self._student, x[y == 0], name, path, detail=detail, **more)
            self._targets.append(ArchiveTarget(path, pyedge.read_category, self._use_sums))

    def __call__(self, data: bytes) -> None:
        """Give an input to the target that its first byte names."""
        if data:
            self._targets[data[0] % len(self._targets)](data[1:])

    def _use_student(self, student: pyedge.StudentFile) -> None:
        if student.statistics is not None:
            self._use_sums(student.statistics)
        engine = student.engine()
        if engine.memory(1, False) < 1 << 24:
            pixels = np.zeros((1, *student.input_shape), np.uint8)
            assert engine.predict(pixels).shape == (1, len(student.classes))

    def _use_sums(self, found: Statistics) -> None:
        try:
            twice = pyedge.merge_statistics([found, found])
        except ValueError:  # too many images for one sum
            return
        left = merging.without(twice, found)
        for name in ("counts", "sums", "described", "described_sums", "groups", "moments"):
            assert np.array_equal(getattr(left, name), getattr(found, name)), name
        learner = pyedge.EdgeLearner(self._student)
        try:
            learner.merge(found)
        except ValueError:
            return
        assert np.isfinite(learner.student.arrays["head.weight"]).all()


def _use_memory(memory: pyedge.Memory) -> None:
    assert len(memory.images) == len(memory.labels) == len(memory)


if __name__ == "__main__":
    modules = (
        npy_archive,
        checks,
        archive,
        memory_file,
        replay_memory,
        category_file,
        compact,
    )
    sys.exit(fuzz(Target, (*modules, merging, solving, statistics_file, stored)))
