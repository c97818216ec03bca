"""Categories: a catalogue of category files for each student, offered by devices."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from pyedge.serve.judging import check_bounds
from pyedge.serve.limits import Limits
from pyedge.serve.refusals import not_found
from pyedge.serve.store import Store
from pyedge.serve.students import Students
from pyedge.serve.tables import categories, devices
from pyedge.serve.uploads import Uploads
from pyedge.statistics.category_file import read_whole


@dataclass(frozen=True)
class Offer:
    """A category file of the catalogue. name: of its class. device: who offers it."""

    digest: str
    name: str
    detail: str
    images: int
    bytes: int
    device: str
    created: float


class Categories:
    """The catalogues of a store."""

    def __init__(self, store: Store, known: Students, uploads: Uploads, limits: Limits) -> None:
        self._store = store
        self._students = known
        self._uploads = uploads
        self._limits = limits

    def list(self, student: str) -> list[Offer]:
        """Return a student's catalogue, the newest offer first."""
        row = self._students.row(student)
        with self._store.database.reading() as connection:
            rows = connection.execute(
                _joined().where(categories.c.student == row.id).order_by(categories.c.id.desc())
            ).all()
        return [_described(each) for each in rows]

    def file(self, student: str, digest: str) -> Path:
        """Return the path of a category file; RefusalError if the catalogue does not have it."""
        self._row(self._students.row(student).id, digest)
        return self._store.blobs.path(digest)

    def offer(self, student: str, digest: str, device: str) -> Offer:
        """Put what a device has uploaded into the catalogue; the same again changes nothing."""
        row = self._students.row(student)
        with self._store.database.reading() as connection:
            known = connection.execute(_of(row.id, digest)).first()
        if known is not None:
            self._uploads.forget(device, digest)
            return _described(known)
        upload = self._uploads.complete(device, digest)
        found = self._uploads.opened(upload, read_whole, "category")
        check_bounds(self._students.base(row), found.statistics, self._limits)
        values = {
            "student": row.id,
            "digest": digest,
            "device": device,
            "name": found.statistics.classes[0],
            "detail": found.detail,
            "images": int(found.statistics.counts[0]),
            "bytes": upload.stat().st_size,
            "created": time.time(),
        }
        self._store.blobs.take(upload, digest)
        try:
            with self._store.database.writing() as connection:
                connection.execute(insert(categories).values(values))
        except IntegrityError:  # the same at the same time
            pass
        return _described(self._row(row.id, digest))

    def remove(self, student: str, digest: str, device: str) -> None:
        """Take a device's own offer out of the catalogue."""
        row = self._students.row(student)
        with self._store.database.writing() as connection:
            done = connection.execute(
                delete(categories).where(
                    categories.c.student == row.id,
                    categories.c.digest == digest,
                    categories.c.device == device,
                )
            )
        if not done.rowcount:
            raise not_found("category")

    def _row(self, student: int, digest: str) -> Row[Any]:
        with self._store.database.reading() as connection:
            found = connection.execute(_of(student, digest)).first()
        if found is None:
            raise not_found("category")
        return found


def _joined() -> Any:
    return select(categories, devices.c.name.label("by")).join(
        devices, devices.c.id == categories.c.device
    )


def _of(student: int, digest: str) -> Any:
    return _joined().where(categories.c.student == student, categories.c.digest == digest)


def _described(row: Row[Any]) -> Offer:
    return Offer(row.digest, row.name, row.detail, row.images, row.bytes, row.by, row.created)
