"""Contributions: sums from devices, each counted once, and taken out again to the last bit."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from pyedge.serve.judging import Verdict, check_bounds, judge
from pyedge.serve.limits import Limits
from pyedge.serve.refusals import RefusalError, not_found
from pyedge.serve.store import Store
from pyedge.serve.students import Students, counted_digests
from pyedge.serve.tables import contributions, devices, students
from pyedge.serve.uploads import Uploads
from pyedge.statistics.statistics_file import read_statistics

STATES = ("counted", "held", "rejected", "withdrawn")
_TRIES = 20


@dataclass(frozen=True)
class Contribution:
    """What the store knows of a contribution. state: one of STATES; only "counted" ones count."""

    digest: str
    student: str
    device: str
    state: str
    reason: str
    images: int
    classes: tuple[str, ...]
    created: float


class Contributions:
    """The contributions of a store."""

    def __init__(self, store: Store, known: Students, uploads: Uploads, limits: Limits) -> None:
        self._store = store
        self._students = known
        self._uploads = uploads
        self._limits = limits
        # one at a time for each student, or each would be judged without the others
        self._locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def add(self, name: str, digest: str, device: str) -> Contribution:
        """Count what a device has uploaded; the same digest again is answered, not counted."""
        row = self._students.row(name)
        with self._locks[row.id]:
            known = self._row(row.id, digest)
            if known is not None:
                self._uploads.forget(device, digest)
                return _described(known)
            upload = self._uploads.complete(device, digest)
            new = self._uploads.opened(upload, read_statistics, "contribution")
            base = self._students.base(row)
            check_bounds(base, new, self._limits)
            values = {
                "student": row.id,
                "digest": digest,
                "device": device,
                "images": int(new.counts.sum()),
                "classes": json.dumps(list(new.classes)),
                "bytes": upload.stat().st_size,
                "created": time.time(),
            }
            for _ in range(_TRIES):
                with self._store.database.reading() as connection:
                    before = counted_digests(connection, row.id)
                verdict = judge(base, self._students.totals.of(row.id, before), new, self._limits)
                if upload.exists():
                    # before the row that names it: a kill between the two leaves a blob too many
                    self._store.blobs.take(upload, digest)
                if self._insert(row.id, before, values, verdict):
                    found = self._row(row.id, digest)
                    assert found is not None
                    return _described(found)
        raise RefusalError(503, "busy", "contribution: the store is busy", retry_after=1)

    def get(self, name: str, digest: str) -> Contribution:
        """Return what is known of a contribution."""
        found = self._row(self._students.row(name).id, digest)
        if found is None:
            raise not_found("contribution")
        return _described(found)

    def list(self, states: Sequence[str] = STATES) -> list[Contribution]:
        """Return the contributions of all students in some states, the oldest first."""
        with self._store.database.reading() as connection:
            rows = connection.execute(
                _joined().where(contributions.c.state.in_(states)).order_by(contributions.c.id)
            ).all()
        return [_described(row) for row in rows]

    def move(
        self, name: str, digest: str, state: str, reason: str, device: str | None = None
    ) -> Contribution:
        """Change the state of a contribution. device: whose it must be; None: anybody's.

        Raises RefusalError for what is not there, or not the device's.
        """
        assert state in STATES
        row = self._students.row(name)
        found = self._row(row.id, digest)
        if found is None or (device is not None and found.device != device):
            raise not_found("contribution")
        with self._locks[row.id], self._store.database.writing() as connection:
            connection.execute(
                update(contributions)
                .where(contributions.c.student == row.id, contributions.c.digest == digest)
                .values(state=state, reason=reason)
            )
        return self.get(name, digest)

    def _insert(
        self, student: int, before: Sequence[str], values: dict[str, Any], verdict: Verdict
    ) -> bool:
        """Insert a judged contribution, unless what it was judged by has changed meanwhile."""
        values = {**values, "reason": verdict.reason}
        values["state"] = "counted" if verdict.counts else "held"
        try:
            with self._store.database.writing() as connection:
                # other processes wait here (PostgreSQL; SQLite lets one write at a time anyway)
                connection.execute(
                    select(students.c.id).where(students.c.id == student).with_for_update()
                )
                if counted_digests(connection, student) != list(before):
                    return False
                connection.execute(insert(contributions).values(values))
        except IntegrityError:  # the same contribution, through another process
            pass
        return True

    def _row(self, student: int, digest: str) -> Row[Any] | None:
        with self._store.database.reading() as connection:
            return connection.execute(
                _joined().where(
                    contributions.c.student == student, contributions.c.digest == digest
                )
            ).first()


def _joined() -> Any:
    return (
        select(contributions, students.c.name.label("of"), devices.c.name.label("by"))
        .join(students, students.c.id == contributions.c.student)
        .join(devices, devices.c.id == contributions.c.device)
    )


def _described(row: Row[Any]) -> Contribution:
    return Contribution(
        digest=row.digest,
        student=row.of,
        device=row.by,
        state=row.state,
        reason=row.reason,
        images=row.images,
        classes=tuple(json.loads(row.classes)),
        created=row.created,
    )
