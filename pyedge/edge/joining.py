"""Adding statistics from elsewhere to a student: of one class, or from other devices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyedge.arguments import kind_of
from pyedge.classes.matching import listing, places, quoted
from pyedge.edge.analytic import with_statistics
from pyedge.edge.growth import with_classes
from pyedge.edge.solving import check_fresh
from pyedge.statistics.category_file import read_category
from pyedge.statistics.merging import merged
from pyedge.statistics.statistics_file import read_statistics
from pyedge.statistics.sums import Statistics
from pyedge.student.features import features_digest
from pyedge.student.tail import terms

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile


def with_category(student: StudentFile, given: Any, name: str | None) -> StudentFile:
    """Return the student with one more class, from a category file or Statistics of one class."""
    where = "add_category"
    known = check_fresh(student, where)
    category = _taken(given, read_category, where)
    if len(category.classes) != 1:
        raise ValueError(
            f"{where}: category: wanted statistics of one class, got "
            f"{len(category.classes)}: {listing(category.classes)}; merge takes several"
        )
    _check_same_features(student, [category], where)
    called = category.classes[0] if name is None else name
    if not isinstance(called, str):
        raise TypeError(f"{where}: name: wanted text, got {kind_of(called)}")
    place = places([called], student.classes)[0]
    if place >= 0:
        called = student.classes[place]
        if name is None and known.count(called):
            raise ValueError(
                f"{where}: the student knows {quoted(called)} already, from "
                f"{known.count(called)} images; name={called!r} adds these images to it, another "
                "name makes a class of its own"
            )
    else:
        student = with_classes(student, [called], where)
    entry = {"command": where, "class": called, "images": int(category.counts[0])}
    if isinstance(given, (str, os.PathLike)):
        # by which `Cloud.contribute` knows sums that are not this device's
        entry["file"] = hashlib.sha256(Path(given).read_bytes()).hexdigest()
    return _joined(student, [replace(category, classes=(called,))], entry)


def with_merged(student: StudentFile, given: Any) -> tuple[StudentFile, tuple[str, ...]]:
    """Return the student with given statistics added to its own, and the classes that are new."""
    where = "merge"
    if student.statistics is not None:
        check_fresh(student, where)
    if isinstance(given, (Statistics, str, os.PathLike)):
        given = [given]
    if not isinstance(given, Iterable):
        raise TypeError(
            f"{where}: statistics: wanted Statistics or files of them, one or several, got "
            f"{kind_of(given)}"
        )
    many = [_taken(each, read_statistics, where) for each in given]
    if not many:
        raise ValueError(f"{where}: statistics: wanted at least one, got none")
    _check_same_features(student, many, where)
    names = sorted({name for each in many for name in each.classes})
    added = [n for n, at in zip(names, places(names, student.classes), strict=True) if at < 0]
    student = with_classes(student, added, where)
    own = dict(zip(names, places(names, student.classes), strict=True))
    renamed = [
        replace(each, classes=tuple(student.classes[own[name]] for name in each.classes))
        for each in many
    ]
    entry = {
        "command": where,
        "statistics": len(many),
        "images": sum(int(each.counts.sum()) for each in many),
    }
    return _joined(student, renamed, entry), tuple(added)


def _taken(given: Any, read: Any, where: str) -> Statistics:
    if isinstance(given, (str, os.PathLike)):
        found: Statistics = read(given)
        return found
    if not isinstance(given, Statistics):
        raise TypeError(f"{where}: wanted Statistics or a file, got {kind_of(given)}")
    return given


def _check_same_features(student: StudentFile, many: Sequence[Statistics], where: str) -> None:
    digest = features_digest(student)
    for each in many:
        if each.digest != digest:
            raise ValueError(
                f"{where}: the statistics of {listing(each.classes)} are of other features than "
                "this student computes: they were made with a student whose weights before the "
                "classifier differ"
            )


def _joined(student: StudentFile, many: Sequence[Statistics], entry: dict[str, Any]) -> StudentFile:
    where = str(entry["command"])
    masked = {student.classes[i] for i in np.flatnonzero(terms(student).masked)}
    hidden = [name for each in many for name in each.classes if name in masked]
    if hidden:
        raise ValueError(
            f"{where}: the student's network masks {quoted(hidden[0])}: its logit is the same "
            "number for every image, whatever is learned; export the student without that mask"
        )
    known = [] if student.statistics is None else [student.statistics]
    try:
        total = merged([*known, *many])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return with_statistics(student, total, entry)
