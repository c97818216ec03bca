"""The outbox: what is to be sent, on the disk before anything is sent, and after it was.

Of each entry there are two files: DIGEST.body, and then DIGEST.KIND.STUDENT.json, with which the
entry exists.
Both are written atomically, and sending twice does no harm, so a kill at any moment does none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pyedge.errors import FormatError, OfflineError, RefusedError
from pyedge.files.atomic import write_atomically
from pyedge.remote.connection import Connection
from pyedge.remote.downloads import digest_of
from pyedge.remote.replies import Contributed, offset_of

try:
    import fcntl
except ImportError:  # no POSIX: two processes that share a folder are not kept apart
    fcntl = None  # type: ignore[assignment]

KINDS = ("contributions", "categories", "images")
_QUERY = {"images": "?consent=true"}
_DONE = {"categories": "offered", "images": "given"}  # contributions: as the service says
_PIECE = 1 << 18
_OF_OFFSETS = ("offset", "not_uploaded")  # another request has brought the bytes, or used them
_TRIES = 6  # of an upload whose offset is not where it was thought to be


@dataclass(frozen=True)
class Entry:
    """Something sent, or to be sent. kind: one of KINDS. number: its place in the order.

    state: "waiting", "refused", or what the service answered. version: of the student that it began
    from. history: a digest of what the student was when its sums were taken.
    """

    digest: str
    kind: str
    student: str
    number: int
    version: int = 0
    history: str = ""
    state: str = "waiting"
    reason: str = ""

    @property
    def name(self) -> str:
        """What tells it from others; a file may be sent for several students."""
        return f"{self.digest}.{self.kind}.{self.student}"

    def outcome(self) -> Contributed:
        """Return what became of it."""
        return Contributed(self.digest, self.student, self.state, self.reason)


class Outbox:
    """The entries in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("ab") as file:
            if fcntl is not None:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def entries(self) -> list[Entry]:
        """Return all entries, in the order in which they were put."""
        found = [_read(path) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda each: (each.number, each.digest))

    def body(self, entry: Entry) -> Path:
        """Return the path of what an entry sends."""
        return self._folder / f"{entry.digest}.body"

    def put(
        self,
        kind: str,
        student: str,
        write: Callable[[Path], Any],
        *,
        version: int = 0,
        history: str = "",
    ) -> Entry:
        """Put what `write` writes into the outbox; the same again waits again if it was refused."""
        new = self._folder / "new"
        write(new)
        known = self.entries()
        number = max((each.number for each in known), default=0) + 1
        entry = Entry(digest_of(new), kind, student, number, version, history)
        for each in known:
            if each.name == entry.name and each.state != "refused":
                new.unlink()
                return each
        new.replace(self.body(entry))
        self.save(entry)
        return entry

    def save(self, entry: Entry) -> None:
        """Write an entry."""
        text = json.dumps(asdict(entry), indent=1)
        path = self._folder / f"{entry.name}.json"
        write_atomically(path, lambda file: file.write(text.encode()))

    def remove(self, entry: Entry) -> None:
        """Forget an entry."""
        (self._folder / f"{entry.name}.json").unlink(missing_ok=True)
        if entry.digest not in {each.digest for each in self.entries()}:
            self.body(entry).unlink(missing_ok=True)

    def send(self, connection: Connection) -> list[Entry]:
        """Send what waits, the oldest first, and return what became of each.

        What cannot be sent now stays, and so does all after it. What is refused is not sent again.
        Raises RefusedError where the token is refused: all then goes on waiting.
        """
        done = []
        for entry in self.entries():
            if entry.state != "waiting":
                continue
            try:
                entry = send_one(connection, entry, self.body(entry))
            except OfflineError as error:
                done.append(replace(entry, reason=str(error)))
                break
            except RefusedError as error:
                # a token that may give no images may do all else
                if error.status == 401 or (error.status == 403 and entry.kind != "images"):
                    raise
                entry = replace(entry, state="refused", reason=str(error))
            if entry.state == "given":  # the images are the device's own: none twice on its disk
                self.remove(entry)
            else:
                self.save(entry)
            done.append(entry)
        return done


def send_one(connection: Connection, entry: Entry, body: Path) -> Entry:
    """Upload a body, have it taken, and return the entry as the service answered."""
    address = f"/v1/students/{entry.student}/{entry.kind}/{entry.digest}"
    for _ in range(_TRIES):
        _upload(connection, entry.digest, body)
        try:
            told = connection.json("PUT", address + _QUERY.get(entry.kind, ""))
        except RefusedError as error:
            if error.code != "not_uploaded":
                raise
            continue  # the service was stopped in between, or cleared old uploads
        if entry.kind in _DONE:
            return replace(entry, state=_DONE[entry.kind], reason="")
        found = Contributed.of(told)
        return replace(entry, state=found.state, reason=found.reason)
    raise OfflineError(f"{connection.address}: the upload is lost again and again")


def _upload(connection: Connection, digest: str, body: Path) -> None:
    """Send a file in pieces, from where the service has it up to."""
    size, address = body.stat().st_size, f"/v1/uploads/{digest}"
    with body.open("rb") as file:
        offset, complete = offset_of(connection.json("GET", address))
        faults = 0
        while not complete:
            file.seek(offset)
            headers = {"Upload-Offset": str(offset), "Upload-Length": str(size)}
            try:
                told = connection.json(
                    "PATCH", address, headers=headers, body=file.read(_PIECE), tries=1
                )
            except (OfflineError, RefusedError) as error:
                faults += 1
                refused = isinstance(error, RefusedError) and error.code not in _OF_OFFSETS
                if faults >= _TRIES or refused:
                    raise
                # it may have taken a part, or all; killed before it looked at all of them, it looks
                # when it is sent the rest, of no bytes
                offset, complete = offset_of(connection.json("GET", address))
                continue
            offset, complete = offset_of(told)
            if not complete and offset >= size:
                raise FormatError(f"{address}: the service has all bytes, and wants more")


def _read(path: Path) -> Entry:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entry = Entry(**content)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: not an entry of an outbox: {error}") from None
    if entry.kind not in KINDS or entry.name != path.name.removesuffix(".json"):
        raise FormatError(f"{path}: not an entry of an outbox")
    return entry


def copied(source: Path) -> Callable[[Path], Any]:
    """Return a function that copies a file, for `put`."""
    return lambda path: shutil.copyfile(source, path)
