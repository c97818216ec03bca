"""Store: a folder with the database and the blobs of one service."""

from __future__ import annotations

import os
from pathlib import Path

from pyedge.serve.blobs import Blobs
from pyedge.serve.database import Database


class Store:
    """All that a service keeps. folder: made if it is not there. url: of another database.

    Raises OSError for a folder that cannot be written to, ValueError for a bad URL.
    """

    def __init__(self, folder: str | os.PathLike[str], url: str | None = None) -> None:
        self.folder = Path(folder).resolve()
        self.uploads = self.folder / "uploads"
        self.work = self.folder / "work"
        for each in (self.folder, self.uploads, self.work):
            each.mkdir(mode=0o700, exist_ok=True)
        self.blobs = Blobs(self.folder / "blobs")
        self.database = Database(url or f"sqlite:///{self.folder / 'store.db'}")

    def close(self) -> None:
        """Close the database's connections."""
        self.database.close()
