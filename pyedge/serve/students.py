"""Students of the store: as they were added, and as their contributions make them (releases)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from pyedge.arguments import shown
from pyedge.edge.joining import with_merged
from pyedge.edge.solving import check_fresh
from pyedge.serve.refusals import not_found
from pyedge.serve.store import Store
from pyedge.serve.tables import contributions, releases, students
from pyedge.serve.totals import Totals
from pyedge.student.archive import read_student, write_student
from pyedge.student.features import features_digest
from pyedge.student.file import StudentFile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEPT_RELEASES = 8  # a device may still be downloading an older one
_TRIES = 20  # while another process counts contributions of the same student


@dataclass(frozen=True)
class Release:
    """A student as devices download it.

    replaces: the student that this one was made after. replaced_by: the newest made after this one.
    """

    name: str
    version: int
    digest: str
    bytes: int
    features: str
    structure: str
    classes: tuple[str, ...]
    contributions: int
    images: int
    teacher: str | None
    created: float
    replaces: str | None = None
    replaced_by: str | None = None


def add_student(
    store: Store,
    path: str | os.PathLike[str],
    name: str,
    teacher: str | None = None,
    replaces: str | None = None,
    along: Callable[[Connection, int], None] | None = None,
) -> Release:
    """Put a student into the store; devices find it under `name`.

    teacher: the path of the network file that answers for it (`pyedge serve` opens it), or None.
    replaces: the name of the student that it is made after.
    along: adds what belongs to the student, by its id, in the same transaction.
    Raises FormatError for a damaged file, ValueError for a student without statistics, a name that
    is taken or cannot stand in an address.
    """
    where = "serve: student"
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{where}: name: wanted letters, digits, '.', '_' and '-', up to 64, got {shown(name)}"
        )
    student = read_student(path)
    statistics = check_fresh(student, where)
    if teacher is not None:
        teacher = str(Path(teacher).resolve(strict=True))
    row = {
        "name": name,
        "features": features_digest(student),
        "structure": student.structure_digest,
        "blob": store.blobs.add(Path(path)),
        "teacher": teacher,
        "created": time.time(),
        "replaces": replaces,
    }
    first = _released(store, student, name, 1, [])
    first |= {"counted": counted_key([]), "images": int(statistics.counts.sum())}
    try:
        with store.database.writing() as connection:
            made = connection.execute(insert(students).values(row))
            connection.execute(insert(releases).values(first | {"student": _key(made)}))
            if along is not None:
                along(connection, _key(made))
    except IntegrityError:
        raise ValueError(
            f"{where}: name: wanted one that is free, got {shown(name)}, which the store has"
        ) from None
    return Students(store).release(name)


class Students:
    """The students of a store; releases are made when they are asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.totals = Totals(store)

    def names(self) -> list[str]:
        """Return all names, in order."""
        with self._store.database.reading() as connection:
            return list(
                connection.execute(select(students.c.name).order_by(students.c.name)).scalars()
            )

    def row(self, name: str) -> Row[Any]:
        """Return the table's row; RefusalError for an unknown name."""
        if _NAME.fullmatch(name) is None:  # PostgreSQL would fail at a NUL
            raise not_found("student")
        with self._store.database.reading() as connection:
            found = connection.execute(select(students).where(students.c.name == name)).first()
        if found is None:
            raise not_found("student")
        return found

    def base(self, row: Row[Any]) -> StudentFile:
        """Return the student as it was added."""
        return read_student(self._store.blobs.path(row.blob))

    def release(self, name: str) -> Release:
        """Return the student with all contributions that count, solved now if they have changed."""
        row = self.row(name)
        for _ in range(_TRIES):
            with self._store.database.reading() as connection:
                counted = counted_digests(connection, row.id)
                latest = _latest(connection, row.id)
            if latest is not None and latest.counted == counted_key(counted):
                return self._described(row, latest)
            self._release(row, counted, 1 if latest is None else latest.version + 1)
        raise RuntimeError(f"contributions of {name} changed {_TRIES} times while they were solved")

    def file(self, name: str, version: int | None = None) -> tuple[Path, Release]:
        """Return the file of a release, by default of the newest; RefusalError if it is gone."""
        if version is None:
            found = self.release(name)
            return self._store.blobs.path(found.digest), found
        row = self.row(name)
        with self._store.database.reading() as connection:
            release = connection.execute(
                select(releases).where(releases.c.student == row.id, releases.c.version == version)
            ).first()
        if release is None:
            raise not_found("version")
        return self._store.blobs.path(release.blob), self._described(row, release)

    def _described(self, row: Row[Any], release: Row[Any]) -> Release:
        with self._store.database.reading() as connection:
            later = _later(connection, row.name)
        return Release(
            name=row.name,
            version=release.version,
            digest=release.blob,
            bytes=release.bytes,
            features=row.features,
            structure=row.structure,
            classes=tuple(json.loads(release.classes)),
            contributions=release.contributions,
            images=release.images,
            teacher=row.teacher,
            created=release.created,
            replaces=row.replaces,
            replaced_by=later,
        )

    def _release(self, row: Row[Any], counted: Sequence[str], version: int) -> None:
        student = self.base(row)
        total = self.totals.of(row.id, counted)
        if total is not None:
            student, _ = with_merged(student, total)
        values = _released(self._store, student, row.name, version, counted)
        assert student.statistics is not None
        values |= {
            "student": row.id,
            "counted": counted_key(counted),
            "images": int(student.statistics.counts.sum()),
        }
        try:
            with self._store.database.writing() as connection:
                connection.execute(insert(releases).values(values))
                gone = connection.execute(
                    select(releases.c.id, releases.c.blob).where(
                        releases.c.student == row.id, releases.c.version <= version - _KEPT_RELEASES
                    )
                ).all()
                connection.execute(delete(releases).where(releases.c.id.in_([g.id for g in gone])))
        except IntegrityError:  # another process has made this version meanwhile
            return
        for each in gone:
            self._store.blobs.remove(each.blob)


def counted_digests(connection: Connection, student: int) -> list[str]:
    """Return the digests of the contributions that count, in order."""
    return list(
        connection.execute(
            select(contributions.c.digest)
            .where(contributions.c.student == student, contributions.c.state == "counted")
            .order_by(contributions.c.digest)
        ).scalars()
    )


def counted_key(digests: Sequence[str]) -> str:
    """Return one digest that names a set of contributions."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _latest(connection: Connection, student: int) -> Row[Any] | None:
    return connection.execute(
        select(releases).where(releases.c.student == student).order_by(releases.c.version.desc())
    ).first()


def _later(connection: Connection, name: str) -> str | None:
    """Return the newest student that was made after one, over all between them."""
    found = None
    query = select(students.c.name).order_by(students.c.id.desc())
    while after := connection.execute(query.where(students.c.replaces == name)).scalar():
        found = name = after
    return found


def _released(
    store: Store, student: StudentFile, name: str, version: int, counted: Sequence[str]
) -> dict[str, Any]:
    """Write a release's file as a blob; its record says where a device has it from."""
    entry = {"command": "serve", "student": name, "version": version}
    student = dataclasses.replace(student, record=(*student.record, entry))
    with TemporaryDirectory(dir=store.work) as folder:
        path = Path(folder) / "student.pyedge"
        write_student(student, path)
        digest, size = store.blobs.add(path), path.stat().st_size
    return {
        "version": version,
        "contributions": len(counted),
        "classes": json.dumps(list(student.classes)),
        "blob": digest,
        "bytes": size,
        "created": time.time(),
    }


def _key(result: Any) -> int:
    return int(result.inserted_primary_key[0])


def clear_work(store: Store) -> None:
    """Remove what a killed process was writing: nothing in the database names it."""
    for left in store.work.iterdir():
        shutil.rmtree(left, ignore_errors=True)
