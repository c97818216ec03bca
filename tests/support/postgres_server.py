"""A PostgreSQL of a test's own: Debian's, as an ordinary process on a socket in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
MISSING = "no /usr/lib/postgresql/*/bin: apt-get install postgresql"


class Postgres:
    """A server, begun at once. url: of SQLAlchemy."""

    def __init__(self) -> None:
        assert PROGRAMS is not None, MISSING
        # it refuses to run as root
        self._user: dict[str, Any] = (
            {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        )
        made = subprocess.check_output(["mktemp", "-d", "/tmp/pyedge-pg.XXXXXX"], text=True)
        self._folder = Path(made[:-1])
        if self._user:
            shutil.chown(self._folder, "postgres", "postgres")
        self.url = f"postgresql+psycopg://pyedge@/postgres?host={self._folder}"
        words = [PROGRAMS / "initdb", "-D", self._data, "-U", "pyedge", "-A", "trust", "-N"]
        subprocess.run(words, check=True, capture_output=True, cwd="/", **self._user)
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAMS is not None
        self._server = subprocess.Popen(
            [
                PROGRAMS / "postgres",
                "-D",
                self._data,
                "-k",
                self._folder,
                "-c",
                "listen_addresses=",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self._user,
        )
        waits = [PROGRAMS / "pg_isready", "-h", self._folder, "-t", "20"]
        for _ in range(200):
            if subprocess.run(waits, capture_output=True).returncode == 0:
                return
        raise AssertionError("PostgreSQL does not answer")

    def stop(self) -> None:
        """Stop it at once, whoever is connected."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(20)

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self._folder)
