"""Tokens: each device has one, of which the store keeps only the SHA-256 of its secret."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
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
