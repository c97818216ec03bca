"""The store's database: SQLite in the store's folder, or any other by its URL."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

_WAIT_SECONDS = 5  # for another process that writes; a device comes again
_CONNECTIONS = 15  # to SQLite, kept: to open one takes as long as some queries


class Database:
    """An engine whose transactions are of two kinds: those that read, and those that write.

    Tables are brought to the newest version first. url: of SQLAlchemy. Raises ValueError for one
    that it does not take.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._migrate()
        self._watching = threading.Lock()
        self._watcher = _watcher(self.engine)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that writes nothing."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that writes: all of it, or nothing."""
        connecting = self.engine.connect().execution_options(writes=True)
        with connecting as connection, connection.begin():
            yield connection

    def version(self) -> int | None:
        """Return a number that changes with every transaction that writes, whoever's it is.

        None where that cannot be told without asking a server. It takes microseconds.
        """
        if self._watcher is None:
            return None
        try:
            with self._watching:
                (found,) = self._watcher.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None
        return int(found)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        if self._watcher is not None:
            self._watcher.close()

    def answers(self) -> bool:
        """Tell whether the database can be reached."""
        try:
            with self.reading() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def _migrate(self) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # two services may start at once
                connection.execute(text("SELECT pg_advisory_xact_lock(7935)"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        options: dict[str, Any] = {"pool_pre_ping": True}
        if parsed.get_backend_name() == "sqlite":  # a file cannot go away, as a server can
            options = {"pool_size": _CONNECTIONS, "max_overflow": 0}
            options["connect_args"] = {"timeout": _WAIT_SECONDS}
        engine = create_engine(parsed, **options)
    except (ArgumentError, ModuleNotFoundError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        why = "it cannot be read" if missing is None else f"{missing} is not installed"
        raise ValueError(
            "serve: database: wanted a URL such as postgresql+psycopg://user@host/name, got one "
            f"that cannot be used: {why}"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _connected)
        event.listen(engine, "begin", _begun)
    return engine


def _watcher(engine: Engine) -> sqlite3.Connection | None:
    """A connection that never writes: to it, all that is written is another's.

    The engine makes it, so that it is to the same file, however the URL names that.
    """
    if engine.dialect.name != "sqlite":
        return None
    pooled = engine.raw_connection()
    found = pooled.driver_connection
    pooled.detach()
    assert isinstance(found, sqlite3.Connection)
    return found


def _connected(connection: Any, _: Any) -> None:
    # sqlite3 would begin transactions by itself, too late, and end them before a CREATE TABLE
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begun(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
