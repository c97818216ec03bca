"""A student: its graph, its file, and changes to it. Needs only numpy."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Return what this module held before it became a folder, with a warning; until version 0.2."""
    if name != "StudentFile":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pyedge.student.file import StudentFile
    from pyedge.warning import warn

    warn("pyedge.student.StudentFile has moved, to pyedge.StudentFile")
    return StudentFile
