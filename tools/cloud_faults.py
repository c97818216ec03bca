"""Do to a service, at length, what may befall it: nothing is lost, nothing counts twice, no 500.

    python tools/cloud_faults.py [KIND...] [--share X]

Kinds, by default all, one after another:
    kills        200 kills (SIGKILL): 50 each in the middle of an upload, a download, a
                 contribution, and a migration of the tables
    crowds       clients that drip, that read nothing, that close one half; 1,000 connections at
                 once, with requests on them, beside 500 that are silent
    disk         a store on a disk of 4 MB that fills (tmpfs, where mounting is allowed)
    databases    PostgreSQL stopped and started under load; SQLite locked by another process
    clocks       a service whose clock is hours and days from the device's, and jumps
    tokens       2,000 forged tokens
    fuzz         10,000 requests: malformed, and what schemathesis makes of the OpenAPI document

--share 0.1 does a tenth of it. The short versions are in tests/serve/test_faults.py.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pyedge
from pyedge.edge.learner import EdgeLearner
from pyedge.serve.store import Store
from pyedge.serve.students import add_student
from pyedge.serve.tokens import add_token
from tests.support.cloud_service import NAME, Process, columns, described_student
from tests.support.faults import clocks, crowds, fuzz, kills, tokens
from tests.support.faults.forked import Nursery
from tests.support.faults.schema import generated
from tests.support.faults.vitals import failures, settled
from tests.support.paths import ROOT
from tests.support.postgres_server import MISSING, PROGRAMS, Postgres
from tests.support.raw_http import ask

_OPTIONS = ("--requests-per-minute", "100M", "--silence-seconds", "2", "--most-drop", "1")
_SCOPES = ["read", "knowledge", "offer", "contribute", "watch"]
Share = Callable[[int], int]


class Place:
    """A store with a student, tokens, and a service's process."""

    def __init__(self, folder: Path, url: str | None = None, devices: int = 1) -> None:
        self.folder, self.log, self._url = folder, folder / "service.log", url
        store = Store(folder / "store", url)
        add_student(store, described_student(folder / "student.pyedge"), NAME)
        self.tokens = [add_token(store.database, f"device {i}") for i in range(devices)]
        self.all = add_token(store.database, "all", _SCOPES)
        store.close()
        self.start()

    def start(self) -> None:
        """Start the service."""
        more = () if self._url is None else ("--database", self._url)
        self.process = Process(self.folder / "store", 0, *_OPTIONS, *more, log=self.log)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.process.url

    def cloud(self, number: int = 0) -> pyedge.Cloud:
        """Return a device's connection."""
        folder = self.folder / f"of-{number}"
        return pyedge.Cloud(self.url, token=self.tokens[number], folder=folder, tries=1, timeout=20)

    def check(self) -> None:
        """Fail if a request was answered 500, or left a trace in the log."""
        found = failures(self.log)
        assert not found, found[:3]


@contextmanager
def placed(url: str | None = None, devices: int = 1) -> Iterator[Place]:
    """Run a service in a folder of its own; at the end its log is looked at."""
    with TemporaryDirectory() as folder:
        place = Place(Path(folder), url, devices)
        try:
            yield place
            place.check()
        finally:
            place.process.kill()


def of_kills(share: Share) -> str:
    """Kill the service and migrations."""
    each = share(50)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "migrations").mkdir()
        command = [sys.executable, "-m", "tests.support.faults.kills"]
        done = subprocess.run(
            [*command, str(folder / "migrations"), str(each)],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        nursery = Nursery()
        shop = kills.Shop(folder, seed=1, start=nursery)
        try:
            for number in range(len(kills.KINDS) * each):
                kills.kill_in(shop, kills.KINDS[number % len(kills.KINDS)])
            shop.check()
            assert failures(shop.log) == []
        finally:
            shop.process.kill()
            nursery.close()
    return (
        f"{shop.kills + each} kills: {each} each in uploads, downloads, contributions and "
        f"migrations ({int(done.stdout)} of these before they were done); {len(shop.counted)} "
        "contributions told to count, each counts once, sums the same to the last bit"
    )


def of_crowds(share: Share) -> str:
    """Let clients be slow, rude and many."""
    with placed(devices=125) as place:
        crowds.at_once(place.url, place.tokens, 200)
        before = settled(place.process.pid, place.url, place.all, 10_000)
        lines = crowds.dripped(place.url, place.tokens[0], seconds=30)
        held = crowds.unread(place.url, place.tokens[0], 8)
        crowds.half_closed(place.url, place.tokens[1], share(1000), random.Random(1))
        statuses = crowds.at_once(place.url, place.tokens, share(1000), silent=share(500))
        assert set(statuses) <= {200, 429}, statuses
        after = settled(place.process.pid, place.url, place.all, before.files + 1)
        for each in held:
            each.close()
    return (
        f"{len(lines)} dripping clients cut off; {share(1000)} half-closed; {share(1000)} requests "
        f"at once: {dict(statuses)}; files {before.files} -> {after.files}, resident "
        f"{before.resident_bytes >> 20} -> {after.resident_bytes >> 20} MiB"
    )


def of_disk(share: Share) -> str:
    """Fill the disk that the store is on, and make room again."""
    with TemporaryDirectory() as name:
        store = Path(name) / "store"
        store.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(store)]
        if subprocess.run(mount, capture_output=True).returncode:
            return "mounting is not allowed here; tests/serve/test_faults.py limits files instead"
        try:
            place = Place(Path(name))
            try:
                return _filled(place, share(30))
            finally:
                place.process.kill()
        finally:
            subprocess.run(["umount", "--lazy", str(store)], check=True)


def _filled(place: Place, rounds: int) -> str:
    cloud, ballast = place.cloud(), place.folder / "store" / "ballast"
    learner, waited = EdgeLearner(cloud.download(NAME)), 0
    for number in range(rounds):
        learner.learn(columns(5, number % 6, number), ["low"] * 5)
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:  # full
                file.truncate(file.tell() - number % 4 * 8192)  # or nearly
        data = number.to_bytes(4, "big") * 10_000
        address = f"/v1/uploads/{hashlib.sha256(data).hexdigest()}"
        sizes = {"Upload_Offset": "0", "Upload_Length": "40000"}
        status = ask(place.url, "PATCH", address, place.tokens[0], data, **sizes)[0]
        assert status == 507, status
        sent = cloud.contribute(learner)
        assert sent is not None
        waited += sent.state == "waiting"
        ballast.unlink()
        here = ask(place.url, "GET", address, place.tokens[0])[2]["offset"]
        sizes["Upload_Offset"] = str(here)
        told = ask(place.url, "PATCH", address, place.tokens[0], data[here:], **sizes)
        assert told[2] == {"offset": 40_000, "complete": True}, told
        cloud.flush()
        assert cloud.waiting() == ()
        for path in (place.folder / "store" / "uploads").rglob(address[-64:]):
            path.unlink()
    (found,) = cloud.students()
    assert found.contributions == rounds, found
    place.check()
    return (
        f"{rounds} uploads to a full disk answered 507 and gone on with; {waited} contributions "
        f"waited, {found.contributions} count"
    )


def of_databases(share: Share) -> str:
    """Take the database away while devices contribute."""
    rounds, told = share(10), []
    with placed(devices=3) as place:
        told.append(f"SQLite locked {rounds} times: {_contributed(place, _locker(place, rounds))}")
    if PROGRAMS is None:
        return "; ".join([*told, f"PostgreSQL: {MISSING}"])
    server = Postgres()
    try:
        with placed(server.url, devices=3) as place:

            def away(source: random.Random) -> None:
                for _ in range(rounds):
                    time.sleep(source.uniform(0, 1))
                    server.stop()
                    time.sleep(source.uniform(0, 0.5))
                    server.start()

            told.append(f"PostgreSQL stopped {rounds} times: {_contributed(place, away)}")
    finally:
        server.remove()
    return "; ".join(told)


def _locker(place: Place, rounds: int) -> Callable[[random.Random], None]:
    def lock(source: random.Random) -> None:
        for _ in range(rounds):
            other = sqlite3.connect(place.folder / "store" / "store.db", timeout=30)
            other.isolation_level = None
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(source.uniform(0, 7))
            other.execute("ROLLBACK")
            other.close()
            time.sleep(source.uniform(0, 1))

    return lock


def _contributed(place: Place, trouble: Callable[[random.Random], None]) -> str:
    """Have three devices contribute while there is trouble; all that they sent counts once."""
    ended, sent, faults = threading.Event(), [0, 0, 0], list[BaseException]()

    def device(number: int) -> None:
        try:
            cloud = place.cloud(number)
            learner = EdgeLearner(place.folder / f"start-{number}")
            while not ended.is_set():
                learner.learn(columns(3, number, sent[number]), ["low"] * 3)
                assert cloud.contribute(learner) is not None
                sent[number] += 1
                time.sleep(0.2)
            deadline = time.monotonic() + 60
            while cloud.waiting():
                assert all(e.state in ("counted", "waiting") for e in cloud.flush())
                assert time.monotonic() < deadline, "what waits is never taken"
        except BaseException as error:
            faults.append(error)

    for number in range(3):
        place.cloud(number).download(NAME, place.folder / f"start-{number}")
    threads = [threading.Thread(target=device, args=(i,), daemon=True) for i in range(3)]
    for thread in threads:
        thread.start()
    trouble(random.Random(4))
    ended.set()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a device is stuck"
    assert not faults, faults
    (told,) = place.cloud().students()
    assert told.contributions == sum(sent), (told.contributions, sent)
    return f"{told.contributions} contributions, each counts once"


def of_clocks(share: Share) -> str:
    """Set the service's clock wrong, and let it jump."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        place = Place(folder)
        place.process.kill()
        skews = clocks.SKEWS * max(1, share(2))
        for number, skew in enumerate(skews):  # from one to the next the clock jumps
            process = clocks.skewed(folder / "store", skew, place.log)
            try:
                clocks.exchange(process, place.tokens[0], folder / f"with-{number}", number)
            finally:
                process.kill()
        place.start()
        try:
            (told,) = place.cloud().students()
            assert told.contributions == len(skews)
            place.check()
        finally:
            place.process.kill()
    return f"{len(skews)} clocks, from 400 days behind to 400 ahead: {told.contributions} count"


def of_tokens(share: Share) -> str:
    """Forge tokens."""
    with placed() as place:
        found: dict[int, int] = {}
        for forged in tokens.forged(place.tokens[0], share(2000), random.Random(5)):
            status = ask(place.url, "GET", "/v1/students", forged)[0]
            found[status] = found.get(status, 0) + 1
        assert set(found) == {401, 429}, found
        assert ask(place.url, "GET", "/v1/students", place.tokens[0])[0] == 200
    return f"forged tokens: {found}; the real one is not slowed down"


def of_fuzz(share: Share) -> str:
    """Send what nobody should send."""
    with placed() as place:
        crowds.at_once(place.url, place.tokens, 200)
        before = settled(place.process.pid, place.url, place.all, 10_000)
        made = generated(place.url, place.all, share(5000))
        rest = share(10_000) - sum(made.values())
        raw = fuzz.malformed(place.url, place.all, rest, random.Random(6))
        after = settled(place.process.pid, place.url, place.all, before.files + 1)
        assert after.resident_bytes < 1.5 * before.resident_bytes, (before, after)
        assert set(place.folder.joinpath("store", "work").iterdir()) == set()
    return (
        f"{rest} malformed requests: {dict(sorted(raw.items()))}; {sum(made.values())} of the "
        f"OpenAPI document: {dict(sorted(made.items()))}; files {before.files} -> {after.files}, "
        f"resident {before.resident_bytes >> 20} -> {after.resident_bytes >> 20} MiB"
    )


_KINDS: dict[str, Callable[[Share], str]] = {
    "kills": of_kills,
    "crowds": of_crowds,
    "disk": of_disk,
    "databases": of_databases,
    "clocks": of_clocks,
    "tokens": of_tokens,
    "fuzz": of_fuzz,
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(_KINDS))
    parser.add_argument("--share", type=float, default=1.0, help="of the full numbers (1)")
    args = parser.parse_args()
    unknown = set(args.kinds) - set(_KINDS)
    if unknown:
        parser.error(f"kinds: wanted some of {', '.join(_KINDS)}, got {', '.join(sorted(unknown))}")
    for name in args.kinds or _KINDS:
        began = time.monotonic()
        told = _KINDS[name](lambda count: max(1, round(count * args.share)))
        print(f"{name}, {time.monotonic() - began:.0f} s: {told}", flush=True)


if __name__ == "__main__":
    main()
