"""Tokens: each device has one, of which the store keeps only the SHA-256 of its secret."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from pyedge.arguments import shown
from pyedge.serve.database import Database
from pyedge.serve.tables import devices

SCOPES = ("read", "knowledge", "offer", "contribute", "images", "watch")
# not "images": whoever makes a token says whether its device may give any
OF_DEVICES = ("read", "knowledge", "offer", "contribute")
_TOKEN = re.compile(r"pyedge_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_LONGEST_NAME = 100
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Device:
    """Who asks. id: of its token, not secret."""

    id: str
    name: str
    scopes: frozenset[str]
    created: float
    revoked: float | None


def add_token(database: Database, name: str, scopes: Sequence[str] = OF_DEVICES) -> str:
    """Make a token for a device and return it; it cannot be read again.

    Raises ValueError for an unknown scope and for a name that is empty, long or not printable.
    """
    unknown = [each for each in scopes if each not in SCOPES]
    if unknown or not scopes:
        raise ValueError(
            f"token: scopes: wanted some of {', '.join(SCOPES)}, got {shown(list(scopes))}"
        )
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"token: device: wanted a name of 1 to {_LONGEST_NAME} printable characters, got "
            f"{shown(name)}"
        )
    identity, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    row = {
        "id": identity,
        "name": name,
        "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "scopes": ",".join(scopes),
        "created": time.time(),
    }
    with database.writing() as connection:
        connection.execute(insert(devices).values(row))
    return f"pyedge_{identity}_{secret}"


def list_tokens(database: Database) -> list[Device]:
    """Return every device that has or had a token, the oldest first."""
    with database.reading() as connection:
        rows = connection.execute(select(devices).order_by(devices.c.created)).all()
    return [
        Device(row.id, row.name, frozenset(row.scopes.split(",")), row.created, row.revoked)
        for row in rows
    ]


def revoke_token(database: Database, identity: str) -> bool:
    """Make a token useless from now on; tell whether there was one in use of this id."""
    with database.writing() as connection:
        done = connection.execute(
            update(devices)
            .where(devices.c.id == identity, devices.c.revoked.is_(None))
            .values(revoked=time.time())
        )
    return done.rowcount == 1


def device_of(database: Database, token: str) -> Device | None:
    """Return whose token this is; None for one that is forged, unknown or revoked.

    The secret is compared in constant time, also where there is nothing to compare it with.
    """
    found = _TOKEN.fullmatch(token)
    identity, secret = found.groups() if found else ("", "")
    with database.reading() as connection:
        row = connection.execute(select(devices).where(devices.c.id == identity)).first()
    kept = _NOBODY if row is None else row.secret_sha256
    same = hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), kept)
    if row is None or not same or row.revoked is not None:
        return None
    return Device(row.id, row.name, frozenset(row.scopes.split(",")), row.created, None)


class Tokens:
    """Whose tokens they are, remembered for as long as the database has not changed.

    A question to it costs a change of threads, and as much again as all else of a small request.
    Whatever is written, a token revoked by another process too, makes all be forgotten.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[bytes, Device] = {}
        self._version: int | None = None
        self._lock = threading.Lock()

    def remembered(self, token: str) -> Device | None:
        """Return whose token this is if that is known without a question."""
        version = self._database.version()
        with self._lock:
            if version is None or version != self._version:
                return None
            return self._known.get(_digest(token))

    def device_of(self, token: str) -> Device | None:
        """Return whose token this is, and remember it; see `device_of`."""
        version = self._database.version()  # before the question: what comes after it is seen
        device = device_of(self._database, token)
        if version is None or device is None:
            return device
        with self._lock:
            if version != self._version:
                self._known, self._version = {}, version
            self._known[_digest(token)] = device
        return device


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
