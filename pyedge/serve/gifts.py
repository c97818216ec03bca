"""Gifts: labelled images that devices let the cloud train on, and can take back.

A file is kept once, however many devices give it, and only for as long as one of them does.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, delete, func, insert, select

from pyedge.classes.matching import absent
from pyedge.images.given_file import GivenImages, read_given
from pyedge.serve.limits import Limits
from pyedge.serve.refusals import RefusalError, invalid, not_found
from pyedge.serve.store import Store
from pyedge.serve.students import Students
from pyedge.serve.tables import devices, gifts, students
from pyedge.serve.uploads import Uploads


@dataclass(frozen=True)
class Gift:
    """A file that a device gave. classes: how many images of each. giver: the device's id."""

    digest: str
    student: str
    device: str
    giver: str
    classes: dict[str, int]
    images: int
    bytes: int
    created: float


class Gifts:
    """The given images of a store."""

    def __init__(self, store: Store, known: Students, uploads: Uploads, limits: Limits) -> None:
        self._store = store
        self._students = known
        self._uploads = uploads
        self._limits = limits

    def add(self, name: str, digest: str, device: str, *, consent: bool) -> Gift:
        """Keep what a device has uploaded; the same again changes nothing.

        Without consent the upload is removed. Raises RefusalError.
        """
        row = self._students.row(name)
        if not consent:
            self._uploads.forget(device, digest)
            raise RefusalError(
                422, "consent", "images: consent: wanted true, got none; nothing is kept"
            )
        known = self._row(row.id, digest, device)
        if known is not None and self._store.blobs.path(digest).exists():
            self._uploads.forget(device, digest)
            return _described(known)
        upload = self._uploads.complete(device, digest)
        given = self._uploads.opened(upload, read_given, "images")
        try:
            self._check(row, given)
        except RefusalError:
            self._uploads.forget(device, digest)
            raise
        counts = np.bincount(given.labels, minlength=len(given.classes)).tolist()
        values = {
            "student": row.id,
            "digest": digest,
            "device": device,
            "classes": json.dumps(dict(zip(given.classes, counts, strict=True))),
            "images": len(given.images),
            "bytes": upload.stat().st_size,
            "created": time.time(),
        }
        with self._store.database.writing() as connection:
            _alone(connection)
            # it is there of the same at the same time, or of before a kill
            if connection.execute(_query(row.id, digest, device)).first() is None:
                self._make_room(connection, row.id, device, values["bytes"])
                connection.execute(insert(gifts).values(values))
        # after the row: a kill in between leaves a row without a file, which the device sends
        # again, and never a file that nobody has given; nor does its withdrawal meanwhile
        with self._store.database.writing() as connection:
            _alone(connection)
            found = connection.execute(_query(row.id, digest, device)).first()
            if found is None:
                self._uploads.forget(device, digest)
                raise RefusalError(
                    409, "withdrawn", "images: wanted given ones, got some withdrawn meanwhile"
                )
            if upload.exists():  # the same at the same time may have taken it
                self._store.blobs.take(upload, digest)
        return _described(found)

    def remove(self, name: str, digest: str, device: str) -> None:
        """Take back what a device gave, and its upload; the file goes with its last giver.

        Raises RefusalError if there was neither.
        """
        row = self._students.row(name)
        uploaded = self._uploads.offset(device, digest)[0] > 0
        self._uploads.forget(device, digest)
        with self._store.database.writing() as connection:
            _alone(connection)
            done = connection.execute(
                delete(gifts).where(
                    gifts.c.student == row.id, gifts.c.digest == digest, gifts.c.device == device
                )
            )
            others = connection.execute(select(gifts.c.id).where(gifts.c.digest == digest)).first()
            if done.rowcount and others is None:
                # before the row is gone for good, for the same reason
                self._store.blobs.remove(digest)
        if not done.rowcount and not uploaded:
            raise not_found("images")

    def list(self, name: str | None = None, device: str | None = None) -> list[Gift]:
        """Return what was given, the oldest first; for one student, by one device."""
        query = _joined().order_by(gifts.c.id)
        if name is not None:
            query = query.where(gifts.c.student == self._students.row(name).id)
        if device is not None:
            query = query.where(gifts.c.device == device)
        with self._store.database.reading() as connection:
            return [_described(row) for row in connection.execute(query).all()]

    def _check(self, row: Row[Any], given: GivenImages) -> None:
        student, limits = self._students.base(row), self._limits
        shape = given.images.shape
        if tuple(shape[1:]) != tuple(student.input_shape):
            raise invalid(
                f"images: shape: wanted {list(student.input_shape)}, got {list(shape[1:])}"
            )
        if len(given.images) > limits.most_images:
            raise invalid(f"images: wanted up to {limits.most_images}, got {len(given.images)}")
        added = absent(given.classes, student.classes)
        if len(added) > limits.most_classes:
            raise invalid(
                f"images: new classes: wanted up to {limits.most_classes}, got {len(added)}"
            )

    def _make_room(self, connection: Connection, student: int, device: str, more: int) -> None:
        used = connection.execute(
            select(func.coalesce(func.sum(gifts.c.bytes), 0)).where(
                gifts.c.student == student, gifts.c.device == device
            )
        ).scalar_one()
        if int(used) + more > self._limits.given_bytes:
            raise RefusalError(
                413,
                "too_large",
                f"images: bytes: wanted up to {self._limits.given_bytes} of a device, got "
                f"{int(used) + more}",
            )

    def _row(self, student: int, digest: str, device: str) -> Row[Any] | None:
        with self._store.database.reading() as connection:
            return connection.execute(_query(student, digest, device)).first()


def _alone(connection: Connection) -> None:
    """Let one process at a time give and take back (PostgreSQL; SQLite has one writer anyway)."""
    query = select(students.c.id).order_by(students.c.id).with_for_update()
    connection.execute(query).all()


def _joined() -> Any:
    return (
        select(gifts, students.c.name.label("of"), devices.c.name.label("by"))
        .join(students, students.c.id == gifts.c.student)
        .join(devices, devices.c.id == gifts.c.device)
    )


def _query(student: int, digest: str, device: str) -> Any:
    return _joined().where(
        gifts.c.student == student, gifts.c.digest == digest, gifts.c.device == device
    )


def _described(row: Row[Any]) -> Gift:
    return Gift(
        digest=row.digest,
        student=row.of,
        device=row.by,
        giver=row.device,
        classes=json.loads(row.classes),
        images=row.images,
        bytes=row.bytes,
        created=row.created,
    )
