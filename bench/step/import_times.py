"""How long a fresh interpreter takes until a student is ready: numpy, pyedge, file, engine."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.shared.student_file import student_file
from bench.shared.students import BenchStudent
from pyedge.student.archive import write_student

# torch is put out of reach, so that the time is that of a device which has numpy alone
_CHILD = """
import json, sys, time
sys.modules["torch"] = None
times = [time.perf_counter()]
import numpy
times.append(time.perf_counter())
import pyedge
from pyedge.student.archive import read_student
times.append(time.perf_counter())
student = read_student(sys.argv[1])
times.append(time.perf_counter())
student.engine()
times.append(time.perf_counter())
print(json.dumps([1e3 * (b - a) for a, b in zip(times, times[1:])]))
"""


def import_times(student: BenchStudent, repeats: int) -> dict[str, Any]:
    """Medians over fresh interpreters, in ms; the first run, which fills caches, is left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.pyedge"
        write_student(student_file(student), path)
        command = [sys.executable, "-c", _CHILD, str(path)]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            for _ in range(repeats + 1)
        ][1:]
        size = path.stat().st_size
    names = ("numpy_ms", "import_pyedge_ms", "read_student_ms", "make_engine_ms")
    result = {
        name: round(statistics.median(t), 1)
        for name, t in zip(names, zip(*runs, strict=True), strict=True)
    }
    result["total_ms"] = round(statistics.median(sum(run) for run in runs), 1)
    return result | {"student": student.name, "file_bytes": size, "runs": len(runs)}
