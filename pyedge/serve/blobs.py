"""Blobs: files in the store by the SHA-256 of their content, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from pyedge.files.atomic import write_atomically

_DIGEST = re.compile(r"[0-9a-f]{64}")
_READ_BYTES = 1 << 20


def is_digest(text: str) -> bool:
    """Tell whether this is a SHA-256 in hexadecimal: nothing else becomes part of a path."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


class Blobs:
    """The blobs under one folder; many processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Return where the blob of a digest lies, or would lie."""
        assert is_digest(digest)
        return self._folder / digest[:2] / digest

    def add(self, path: Path) -> str:
        """Copy a file into the store, and return its digest."""
        digest = digest_of(path)
        target = self.path(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source:
                write_atomically(target, lambda file: shutil.copyfileobj(source, file))
        return digest

    def take(self, path: Path, digest: str) -> None:
        """Move a file, flushed to the disk and of this digest, into the store."""
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)

    def remove(self, digest: str) -> None:
        """Remove a blob, if it is there."""
        self.path(digest).unlink(missing_ok=True)
