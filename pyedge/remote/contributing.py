"""What a device has learned itself: its sums less those that others, or it before, have given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyedge.edge.solving import check_fresh
from pyedge.statistics.merging import merge_statistics, subtract_statistics
from pyedge.statistics.sums import Statistics

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile

_WHERE = "contribute"


def served_as(student: StudentFile) -> tuple[str, int] | None:
    """Return the name and version under which a service gave this student away, or None."""
    for entry in reversed(student.record):
        name, version = entry.get("student"), entry.get("version")
        if entry.get("command") == "serve" and isinstance(name, str) and type(version) is int:
            return name, version
    return None


def histories(student: StudentFile) -> list[str]:
    """Return a digest of what was done to a student, and before it of every earlier state."""
    digest, found = hashlib.sha256(), []
    for entry in student.record:
        digest.update(json.dumps(entry, sort_keys=True, default=str).encode() + b"\n")
        found.append(digest.hexdigest())
    return found or [digest.hexdigest()]


def own_share(
    student: StudentFile,
    base: StudentFile,
    category: Callable[[str], Statistics | None],
    sent: Sequence[Statistics],
) -> Statistics | None:
    """Return the statistics of what a student has seen since it was `base`, or None for nothing.

    category: finds a category file's statistics by the SHA-256 of the file. sent: what was
    contributed before. Raises ValueError for sums of unknown origin, which others may have counted.
    """
    known, record = check_fresh(student, _WHERE), base.record
    if student.record[: len(record)] != record:
        raise ValueError(
            f"{_WHERE}: learner: wanted one that began as the student downloaded from this "
            "service, got another; since= says what it began from"
        )
    others = []
    for entry in student.record[len(record) :]:
        command = entry.get("command")
        if command == "merge":
            raise ValueError(
                f"{_WHERE}: learner: wanted sums of its own images, got some merged from other "
                "devices since; since= says what not to count"
            )
        if command == "add_category":
            others.append(_added(entry, category))
    return less(known, [check_fresh(base, _WHERE), *others, *sent])


def less(whole: Statistics, parts: Sequence[Statistics]) -> Statistics | None:
    """Take parts out of sums; None if nothing is left."""
    left = subtract_statistics(whole, merge_statistics(parts))
    return left if left.classes else None


def _added(entry: Any, category: Callable[[str], Statistics | None]) -> Statistics:
    digest, name = entry.get("file"), entry.get("class")
    found = category(digest) if isinstance(digest, str) else None
    if found is None or not isinstance(name, str):
        raise ValueError(
            f"{_WHERE}: learner: wanted sums of its own images, got class {name!r} from a category "
            "file that is not this service's; since= says what not to count"
        )
    return replace(found, classes=(name,))
