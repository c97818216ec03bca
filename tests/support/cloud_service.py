"""A service on this machine for tests: in a thread, or as a process that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import pyedge
from pyedge.remote.cloud import Cloud
from pyedge.serve.limits import Limits
from pyedge.serve.opening import open_service
from pyedge.serve.running import Server, make_server
from pyedge.serve.service import Service
from pyedge.serve.store import Store
from pyedge.serve.students import add_student
from pyedge.serve.tokens import OF_DEVICES, add_token
from tests.support.edge_student import CLASSES, SIZE, images, tiny_student

NAME = "rows"
_WAIT_SECONDS = 30


def described_student(path: Path) -> Path:
    """Write the tiny student with statistics of 240 images of its three classes."""
    pixels, labels = images(240)
    held = images(90, seed=5)
    pyedge.write_student(pyedge.add_statistics(tiny_student(), pixels, labels, held=held), path)
    return path


def columns(count: int, column: int, seed: int) -> np.ndarray:
    """Images of a new class: one bright column, uint8 [n, 1, 8, 8]."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 100, (count, 1, SIZE, SIZE)).astype(np.uint8)
    pixels[..., column : column + 2] += 140
    return pixels


class Running:
    """A service that runs: its address, its parts and its store."""

    def __init__(self, url: str, service: Service, folder: Path) -> None:
        self.url = url
        self.service = service
        self.folder = folder

    def token(self, name: str = "device", scopes: Sequence[str] = OF_DEVICES) -> str:
        """Make a token."""
        return add_token(self.service.store.database, name, scopes)

    def cloud(self, name: str = "device", **options: Any) -> Cloud:
        """Make a device's Cloud, with a folder and a token of its own."""
        options = {"tries": 3, "timeout": 10, "folder": self.folder / f"of-{name}", **options}
        return Cloud(self.url, token=options.pop("token", None) or self.token(name), **options)


@contextmanager
def running(
    folder: Path, limits: Limits | None = None, url: str | None = None, teacher: str | None = None
) -> Iterator[Running]:
    """Run a service with the tiny student in a thread; with another database at `url`."""
    store = Store(folder / "store", url)
    known = described_student(folder / "student.pyedge")
    add_student(store, known, NAME, teacher)
    store.close()
    service = open_service(folder / "store", url, limits)
    there, told = threading.Event(), list[str]()

    def listening(address: str) -> None:
        told.append(address)
        there.set()

    server = make_server(service, "127.0.0.1", 0, None, None, listening)
    thread = threading.Thread(target=_serve, args=(server, there), daemon=True)
    thread.start()
    assert there.wait(_WAIT_SECONDS)
    assert told, "the service did not start"
    try:
        yield Running(told[0], service, folder)
    finally:
        server.should_exit = True
        thread.join(_WAIT_SECONDS)
        assert not thread.is_alive()


def _serve(server: Server, there: threading.Event) -> None:
    try:
        asyncio.run(server.serve())
    finally:
        there.set()


class Process:
    """`pyedge serve` as a process on a port, to be killed and started again.

    before: code that it runs first. log: where its log goes; nowhere without it.
    """

    def __init__(
        self, store: Path, port: int = 0, *options: str, before: str = "", log: Path | None = None
    ) -> None:
        code = f"{before}\nimport sys; from pyedge.cli import main; sys.exit(main())"
        words = ["serve", "--store", str(store), "--port", str(port), "--json", *options]
        with Path(log or os.devnull).open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the service did not start"
        self.url: str = json.loads(line)["url"]

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._end()

    def stop(self) -> int:
        """Ask it to stop, and return its exit status."""
        os.kill(self._process.pid, signal.SIGTERM)
        return self._end()

    def _end(self) -> int:
        assert self._process.stdout is not None
        status = self._process.wait(_WAIT_SECONDS)
        self._process.stdout.close()
        return status


__all__ = ["CLASSES", "NAME", "Process", "Running", "columns", "described_student", "running"]
