"""A student, in any form that a caller may have it."""

from __future__ import annotations

import os
from typing import Any, Protocol

from pyedge.arguments import kind_of
from pyedge.student.archive import read_student
from pyedge.student.file import StudentFile


class Learner(Protocol):
    """An EdgeLearner, of which only the student matters."""

    @property
    def student(self) -> StudentFile:
        """The student as it is now."""


AnyStudent = StudentFile | Learner | str | os.PathLike[str]


def student_of(given: Any, where: str) -> StudentFile:
    """Return the student of a StudentFile, a file's path, or a learner; TypeError for others."""
    if isinstance(given, (str, os.PathLike)):
        return read_student(given)
    found = given if isinstance(given, StudentFile) else getattr(given, "student", None)
    if not isinstance(found, StudentFile):
        raise TypeError(
            f"{where}: student: wanted a StudentFile, the path of one or an EdgeLearner, got "
            f"{kind_of(given)}"
        )
    return found
