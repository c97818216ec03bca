"""Kill the service again and again while devices contribute; nothing is lost, nothing counts twice.

    python tools/cloud_faults.py [KILLS]

Devices in threads send contributions and download students; the service is a process that is
killed (SIGKILL) at random moments and started again on the same port and store. At the end each
contribution counts once, and the classifier is the one of all images at once, to the last bit of
its sums. Also: a kill in the middle of the first migration, and 1,000 idle connections.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import pyedge
from pyedge.edge.learner import EdgeLearner
from pyedge.serve.store import Store
from pyedge.serve.students import add_student
from pyedge.serve.tokens import add_token
from tests.support.cloud_service import NAME, Process, described_student
from tests.support.edge_student import images
from tests.support.statistics_case import same

_DEVICES = 4
_ROUNDS = 12
_MOST_SECONDS = 900


def migrations(folder: Path, kills: int) -> None:
    """Kill `serve token list`, which makes the tables first, at random moments."""
    code = "import sys; from pyedge.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "serve", "token", "list", "--store", str(folder)]
    source = random.Random(1)
    for _ in range(kills):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(source.uniform(0.2, 1.5))
        process.kill()
        process.wait()
    store = Store(folder)
    assert store.database.answers()
    store.close()
    print(f"{kills} kills while tables are made: the store opens")


def contributions(folder: Path, kills: int) -> None:
    """Kill the service while devices use it."""
    store = Store(folder / "store")
    base = described_student(folder / "student.pyedge")
    add_student(store, base, NAME)
    tokens = [add_token(store.database, f"device {i}") for i in range(_DEVICES)]
    store.close()
    options = ("--requests-per-minute", "1M", "--most-drop", "1")
    process = Process(folder / "store", 0, *options)
    port, failures = process.port, list[str]()

    def work(number: int) -> None:
        try:
            device(number)
        except BaseException as error:
            failures.append(f"device {number}: {type(error).__name__}: {error}")

    def device(number: int) -> None:
        cloud = pyedge.Cloud(
            f"http://127.0.0.1:{port}",
            token=tokens[number],
            folder=folder / f"of-{number}",
            tries=60,
            timeout=5,
        )
        learner = EdgeLearner(cloud.download(NAME))
        for turn in range(_ROUNDS):
            pixels, labels = images(6, seed=1000 * number + turn)
            learner.learn(pixels, labels)
            cloud.contribute(learner)
            cloud.download(NAME, folder / f"of-{number}" / "newest.pyedge")
        while cloud.waiting():
            cloud.flush()

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(_DEVICES)]
    for thread in threads:
        thread.start()
    source, done, began = random.Random(2), 0, time.monotonic()
    while any(thread.is_alive() for thread in threads):
        assert time.monotonic() - began < _MOST_SECONDS, "the devices are stuck"
        time.sleep(source.uniform(0.05, 0.8))
        if done < kills:
            process.kill()
            process = Process(folder / "store", port, *options)
            done += 1
    assert not failures, failures
    cloud = pyedge.Cloud(f"http://127.0.0.1:{port}", token=tokens[0], folder=folder / "last")
    (told,) = cloud.students()
    together = EdgeLearner(cloud.download(NAME))
    central = EdgeLearner(base)
    for number in range(_DEVICES):
        for turn in range(_ROUNDS):
            central.learn(*images(6, seed=1000 * number + turn))
    assert together.statistics is not None
    assert central.statistics is not None
    assert told.contributions == _DEVICES * _ROUNDS, told
    assert same(together.statistics, central.statistics)
    pixels, _ = images(60, seed=8)
    apart = float(np.abs(together.logits(pixels) - central.logits(pixels)).max())
    assert apart <= 1e-6, apart
    print(f"{done} kills, {told.contributions} contributions: each counts once; logits {apart:.1g}")
    many_connections(port)
    assert process.stop() in (0, -15, 143)


def many_connections(port: int) -> None:
    """Open 1,000 connections that say nothing, and ask on one more."""
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(1000)]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as asking:
        asking.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = asking.recv(100)
    for each in silent:
        each.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    print("1,000 silent connections: the service answers beside them")


def main(kills: int) -> None:
    """Run all of it."""
    with TemporaryDirectory() as folder:
        migrations(Path(folder) / "empty", max(1, kills // 5))
        contributions(Path(folder), kills)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 200)
