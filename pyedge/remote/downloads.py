"""Downloads that go on where they were broken off, and are believed only by their digest."""

from __future__ import annotations

import hashlib
import http.client
import os
from pathlib import Path

from pyedge.errors import FormatError
from pyedge.files.disk import sync_file, sync_folder
from pyedge.remote.connection import Connection

_PIECE = 1 << 16


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def download(connection: Connection, address: str, digest: str, size: int, path: Path) -> None:
    """Download a file of a known digest and size to `path`, unless it is there already.

    What a broken connection or a killed process has left is kept in .DIGEST.part and gone on from.
    Raises FormatError if the service sends something else.
    """
    if path.exists() and digest_of(path) == digest:
        return
    part = path.with_name(f".{digest}.part")
    if part.exists() and part.stat().st_size > size:
        part.unlink()

    def read(answer: http.client.HTTPResponse) -> None:
        here = part.stat().st_size if part.exists() else 0
        if answer.status != 206 or not _continues(answer, here):
            here = 0  # the whole file comes
        with part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(here)
            file.seek(here)
            while piece := answer.read(_PIECE):
                here += len(piece)
                if here > size:
                    raise http.client.HTTPException(f"more than the {size} bytes that were told")
                file.write(piece)
            for note in sync_file(file, part):
                note.tell()
        if here < size:
            raise http.client.IncompleteRead(b"", size - here)

    while not part.exists() or part.stat().st_size < size:
        before = part.stat().st_size if part.exists() else 0
        headers = {}
        if before:
            headers = {"Range": f"bytes={before}-", "If-Range": f'"{digest}"'}
        # one try each: the next one asks for what is then lacking
        try:
            connection.request("GET", address, read=read, headers=headers, tries=1)
        except OSError:
            now = part.stat().st_size if part.exists() else 0
            if now <= before:
                connection.request("GET", address, read=read, headers=headers)
    if digest_of(part) != digest:
        part.unlink()
        raise FormatError(f"{address}: the service sent another file than it told of")
    os.replace(part, path)
    for note in sync_folder(path.parent):
        note.tell()


def _continues(answer: http.client.HTTPResponse, here: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {here}-")
