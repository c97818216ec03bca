"""A benchmark's student as a student file, for what starts from one."""

from __future__ import annotations

from bench.shared.students import BenchStudent
from pyedge.student.file import StudentFile


def student_file(student: BenchStudent) -> StudentFile:
    """The same student as `pyedge.export` would describe it."""
    return StudentFile(
        nodes=tuple(student.nodes),
        arrays=student.arrays,
        input_shape=student.input_shape,
        output=student.output,
        taps=tuple(student.taps),
        kept=tuple(student.kept),
        teacher_channels=student.teacher_channels,
        last_convs=tuple(student.last_convs),
        classifier=student.classifier,
        trainable=tuple(student.last_conv),
        classes=tuple(f"class {i}" for i in range(student.classes)),
    )
