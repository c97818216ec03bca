"""The service killed (SIGKILL) in the middle of an upload, a download, a contribution, a migration.

Devices remember what they were told was counted. At the end the service's sums are those of the
student and of exactly these, to the last bit.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from pyedge.edge.learner import EdgeLearner
from pyedge.remote.cloud import Cloud
from pyedge.remote.downloads import digest_of
from pyedge.serve import database as of_store
from pyedge.serve.store import Store
from pyedge.serve.students import add_student
from pyedge.serve.tokens import add_token, list_tokens
from pyedge.statistics.merging import merged
from pyedge.statistics.statistics_file import read_statistics
from pyedge.statistics.sums import Statistics
from pyedge.student.archive import read_student, write_student
from tests.support.cloud_service import NAME, Process, described_student
from tests.support.edge_student import images
from tests.support.statistics_case import same

KINDS = ("upload", "download", "contribution")
_LARGE = 6 << 20  # bytes of the student's file: more than a socket takes at once
_STUCK_SECONDS = 120
_OPTIONS = ("--requests-per-minute", "1M", "--most-drop", "1")


class Shop:
    """A service that is killed and started again, a device, and what the device was told."""

    def __init__(self, folder: Path, seed: int, start: Callable[..., Any] = Process) -> None:
        self._start = start
        self.source = random.Random(seed)
        self.base = described_student(folder / "student.pyedge")
        student = read_student(self.base)
        padding = {"command": "padding", "text": "x" * _LARGE}
        student = dataclasses.replace(student, record=(*student.record, padding))
        write_student(student, self.base)
        self.store, self.log = folder / "store", folder / "service.log"
        store = Store(self.store)
        add_student(store, self.base, NAME)
        self.token = add_token(store.database, "killed")
        store.close()
        self.process = start(self.store, 0, *_OPTIONS, log=self.log)
        self.port, self.folder = self.process.port, folder / "device"
        self.counted: dict[str, Statistics] = {}
        self.kills = self._turn = 0
        with self.cloud() as cloud:
            self.learner = EdgeLearner(cloud.download(NAME))

    def cloud(self, tries: int = 30) -> Cloud:
        """Return the device's connection."""
        url = f"http://127.0.0.1:{self.port}"
        return Cloud(url, token=self.token, folder=self.folder, tries=tries, timeout=10)

    def kill(self, after: float = 0.0) -> None:
        """Kill the service in some seconds, and start it again."""
        time.sleep(after)
        self.process.kill()
        self.kills += 1
        self.process = self._start(self.store, self.port, *_OPTIONS, log=self.log)

    def learn(self) -> None:
        """Put a contribution of new images into the outbox; the service may be away."""
        pixels, labels = images(6, seed=10_000 + self._turn)
        self._turn += 1
        self.learner.learn(pixels, labels)
        offline = Cloud("http://127.0.0.1:9", token=self.token, folder=self.folder, tries=1)
        waiting = offline.contribute(self.learner)
        assert waiting is not None
        assert waiting.state == "waiting"

    def deliver(self) -> None:
        """Send all that waits, and remember what counted."""
        with self.cloud() as cloud:
            while cloud.waiting():
                for each in cloud.flush():
                    assert each.state in ("counted", "waiting"), each
                    if each.state == "counted":
                        assert each.digest not in self.counted
                        body = self.folder / "outbox" / f"{each.digest}.body"
                        self.counted[each.digest] = read_statistics(body)

    def check(self) -> Statistics:
        """Hold the service's sums to those of what was told to count; return the service's."""
        with self.cloud() as cloud:
            (told,) = cloud.students()
            found = EdgeLearner(cloud.download(NAME)).statistics
        own = read_student(self.base).statistics
        assert found is not None
        assert own is not None
        wanted = merged([own, *self.counted.values()])
        assert told.contributions == len(self.counted) == self._turn, told
        assert same(found, wanted)
        return found


def kill_in(shop: Shop, kind: str) -> None:
    """Kill the service in the middle of one thing, and see that the device still gets it done."""
    {"upload": _upload, "download": _download, "contribution": _contribution}[kind](shop)


def _upload(shop: Shop) -> None:
    """Kill it while a part of the body is there, some of it on the way."""
    shop.learn()
    (entry,) = shop.cloud().waiting()
    body = (shop.folder / "outbox" / f"{entry.digest}.body").read_bytes()
    sent = shop.source.randrange(1, len(body))
    with socket.create_connection(("127.0.0.1", shop.port), timeout=20) as connection:
        connection.sendall(
            f"PATCH /v1/uploads/{entry.digest} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {shop.token}\r\nUpload-Offset: 0\r\n"
            f"Upload-Length: {len(body)}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[:sent]
        )
        shop.kill(shop.source.uniform(0, 0.03))
    shop.deliver()


def _contribution(shop: Shop) -> None:
    """Kill it while it reads, judges, moves or inserts what has been uploaded, or answers."""
    shop.learn()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(shop.deliver)
        shop.kill(shop.source.uniform(0.01, 0.12))
        sending.result(_STUCK_SECONDS)


def _download(shop: Shop) -> None:
    """Kill it while a file is half sent, and go on with the rest."""
    with shop.cloud() as cloud:
        (told,) = cloud.students()
    kept = shop.folder / "students" / f"{NAME}.{told.version}.pyedge"
    kept.unlink(missing_ok=True)
    with socket.create_connection(("127.0.0.1", shop.port), timeout=20) as connection:
        connection.sendall(
            f"GET /v1/students/{NAME}/file?version={told.version} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {shop.token}\r\n\r\n".encode()
        )
        head, _, start = connection.recv(1 << 16).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        wanted = shop.source.randrange(1, 1 << 20)
        while len(start) < wanted:
            start += connection.recv(1 << 16)
        shop.kill()
    (kept.parent / f".{told.digest}.part").write_bytes(start)  # as `download` keeps it
    with shop.cloud() as cloud:
        assert digest_of(cloud.download(NAME)) == told.digest


def kill_migrations(folder: Path, kills: int, source: random.Random) -> int:
    """Kill a process while it brings a store's tables to the newest version, which then succeeds.

    Each store has the first version's tables, with a device in them, or none. Returns how many were
    killed before they were done. The process is a fork: a start of Python takes longer than all
    migrations.
    """
    began = time.monotonic()
    Store(folder / "undisturbed").close()
    longest, early = time.monotonic() - began, 0
    for number in range(kills):
        place, tables = folder / str(number), number % 2
        if tables:
            _first_version(place)
        early += not _done(lambda place=place: Store(place).close(), source.uniform(0, longest))
        assert len(_devices(place)) == tables
    return early


def _done(work: Callable[[], object], after: float) -> bool:
    """Run work in a fork and kill it; tell whether it was done before."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(after)
    done, _ = os.waitpid(pid, os.WNOHANG)
    if not done:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return bool(done)


def _first_version(folder: Path) -> None:
    folder.mkdir()
    engine = create_engine(f"sqlite:///{folder / 'store.db'}")
    config = Config()
    scripts = Path(of_store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "+1")
        connection.execute(
            text("INSERT INTO devices VALUES ('0123456789abcdef', 'old', :hash, 'read', 0, NULL)"),
            {"hash": "0" * 64},
        )
    engine.dispose()


def _devices(folder: Path) -> list[str]:
    store = Store(folder)
    names = [each.name for each in list_tokens(store.database)]
    store.close()
    return names


if __name__ == "__main__":  # a process without threads, which alone may fork
    print(kill_migrations(Path(sys.argv[1]), int(sys.argv[2]), random.Random(1)))
