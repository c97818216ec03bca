"""What goes wrong around a service, in short; tools/cloud_faults.py does it at length."""

from __future__ import annotations

import hashlib
import random
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
import pyedge
from pyedge.edge.learner import EdgeLearner
from pyedge.serve.limits import Limits
from pyedge.serve.rates import Rates
from pyedge.serve.store import Store
from pyedge.serve.tokens import add_token, device_of, revoke_token
from tests.support.cloud_service import NAME, Process, Running, columns, running
from tests.support.faults import clocks, crowds, fuzz, kills, tokens
from tests.support.faults.vitals import failures, settled
from tests.support.paths import ROOT
from tests.support.postgres_server import MISSING, PROGRAMS, Postgres
from tests.support.raw_http import ask, fault

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
LIMITS = Limits(requests_per_minute=10_000_000, silence_seconds=0.5, most_drop=1)
OPTIONS = ("--requests-per-minute", "10M", "--silence-seconds", "1")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[kills.Shop]:
    found = kills.Shop(tmp_path, seed=1)
    yield found
    found.process.kill()


def test_killed_service_loses_nothing_and_counts_nothing_twice(shop: kills.Shop) -> None:
    for kind in kills.KINDS:
        kills.kill_in(shop, kind)
    assert shop.kills == 3
    shop.check()
    assert failures(shop.log) == []


@pytest.mark.skipif(not hasattr(sys, "getswitchinterval") or sys.platform == "win32", reason="fork")
def test_killed_migration_is_done_at_the_next_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.faults.kills", tmp_path, "6"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("faults"), LIMITS) as found:
        yield found


def test_dripping_clients_are_cut_off(service: Running) -> None:
    found = crowds.dripped(service.url, service.token(), seconds=10)
    assert [each[:12] for each in found] == [
        b"",
        *[b"HTTP/1.1 " + s for s in (b"200", b"408", b"401")],
    ]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[Process, str, str]]:
    """A process with a large student, a token, and one that may watch."""
    made = kills.Shop(tmp_path, seed=2)
    made.process.kill()
    store = Store(tmp_path / "store")
    watcher = add_token(store.database, "watcher", ["watch"])
    store.close()
    found = Process(tmp_path / "store", 0, *OPTIONS, log=made.log)
    yield found, made.token, watcher
    found.kill()
    assert failures(made.log) == []


@needs_proc
def test_rude_clients_leave_nothing_behind(process: tuple[Process, str, str]) -> None:
    found, token, watcher = process
    assert crowds.at_once(found.url, [token], 200)[200] >= 1  # fills pools of threads and files
    before = settled(found.pid, found.url, watcher, 10_000)
    held = crowds.unread(found.url, token, 6)
    crowds.half_closed(found.url, token, 60, random.Random(3))
    statuses = crowds.at_once(found.url, [token], 300, silent=100)
    assert set(statuses) <= {200, 429}
    assert sum(statuses.values()) == 300
    counted = fuzz.malformed(found.url, token, 400, random.Random(4))
    assert {200, 400, 404, 405} <= set(counted)
    after = settled(found.pid, found.url, watcher, before.files + 1)
    for each in held:
        each.close()
    assert after.database_files < 60  # two a connection, and some that POSIX locks keep open
    assert after.resident_bytes < 1.5 * before.resident_bytes
    assert ask(found.url, "GET", "/v1/students", token)[0] == 200


def test_few_files_are_told_before_they_run_out(
    process: tuple[Process, str, str], tmp_path: Path
) -> None:
    _, token, _ = process
    before = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))"
    narrow = Process(tmp_path / "store", 0, *OPTIONS, before=before, log=tmp_path / "service.log")
    try:
        statuses = crowds.at_once(narrow.url, [token], 120)
        assert set(statuses) <= {200, 429, 503}
        assert ask(narrow.url, "GET", "/v1/students", token)[0] == 200
    finally:
        narrow.kill()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process: Linux")
def test_full_disk_is_told_and_loses_nothing(
    process: tuple[Process, str, str], tmp_path: Path
) -> None:
    """A limit on the size of files stands for the disk: writes beyond it fail, really."""
    found, token, _ = process
    kept = tmp_path / "device"
    learner = EdgeLearner(next((kept / "students").iterdir()))
    learner.learn(columns(5, 1, 1), ["low"] * 5)
    cloud = pyedge.Cloud(found.url, token=token, folder=kept, tries=1)
    unlimited = resource.prlimit(found.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(found.pid, resource.RLIMIT_FSIZE, (1000, unlimited[1]))
    data = b"x" * 5000
    address = f"/v1/uploads/{hashlib.sha256(data).hexdigest()}"
    headers = {"Upload_Offset": "0", "Upload_Length": "5000"}
    answer = ask(found.url, "PATCH", address, token, data, **headers)
    assert fault(answer) == (507, "full")
    assert str(tmp_path) not in str(answer[2])
    assert ask(found.url, "GET", address, token)[2] == {"offset": 1000, "complete": False}
    sent = cloud.contribute(learner)
    assert sent is not None
    assert sent.state == "waiting"
    assert "disk is full" in sent.reason
    assert ask(found.url, "GET", "/v1/students", token)[0] == 200
    resource.prlimit(found.pid, resource.RLIMIT_FSIZE, unlimited)
    assert [each.state for each in cloud.flush()] == ["counted"]
    headers["Upload_Offset"] = "1000"
    rest = ask(found.url, "PATCH", address, token, data[1000:], **headers)
    assert rest[2] == {"offset": 5000, "complete": True}


def contributing(service: Running, name: str) -> tuple[pyedge.Cloud, EdgeLearner]:
    cloud = service.cloud(name, tries=1)
    learner = EdgeLearner(cloud.download(NAME))
    learner.learn(columns(5, 1, 1), ["low"] * 5)
    return cloud, learner


def test_locked_database_is_told_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyedge.serve.database._WAIT_SECONDS", 0.3)
    with running(tmp_path, LIMITS) as found:
        cloud, learner = contributing(found, "locked")
        other = sqlite3.connect(tmp_path / "store" / "store.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        sent = cloud.contribute(learner)
        assert sent is not None
        assert sent.state == "waiting"
        assert "the service's database does not answer" in sent.reason
        assert cloud.students()[0].version == 1  # what only reads goes on
        other.execute("ROLLBACK")
        other.close()
        assert [each.state for each in cloud.flush()] == ["counted"]


@pytest.mark.skipif(PROGRAMS is None, reason=MISSING)
def test_database_that_goes_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    server = Postgres()
    try:
        with running(tmp_path, LIMITS, url=server.url) as found:
            cloud, learner = contributing(found, "away")
            token = found.token("other")
            server.stop()
            answer = ask(found.url, "GET", "/v1/students", token)
            assert fault(answer) == (503, "database")
            assert "retry-after" in answer[1]
            assert str(tmp_path) not in str(answer[2])
            assert ask(found.url, "GET", "/ready")[0] == 503
            assert ask(found.url, "GET", "/health")[0] == 200
            sent = cloud.contribute(learner)
            assert sent is not None
            assert sent.state == "waiting"
            server.start()
            assert [each.state for each in cloud.flush()] == ["counted"]
            assert ask(found.url, "GET", "/ready")[0] == 200
            for path in ("/v1/students/%00", f"/v1/students/{NAME}/file?version={'9' * 20}",
                         f"/v1/students/{NAME}/contributions/%00"):  # fmt: skip
                assert ask(found.url, "GET", path, token)[0] in (404, 422)
    finally:
        server.remove()


def test_devices_need_not_agree_on_the_time(tmp_path: Path) -> None:
    made = kills.Shop(tmp_path, seed=5)
    made.process.kill()
    for number, skew in enumerate((-400 * 24 * clocks.HOUR, 25 * clocks.HOUR)):
        process = clocks.skewed(tmp_path / "store", skew, made.log)
        try:
            clocks.exchange(process, made.token, tmp_path / f"of-{number}", number)
        finally:
            process.kill()
    assert failures(made.log) == []


def test_upload_goes_on_however_old_its_beginning_is(service: Running) -> None:
    token, uploads = service.token("late"), service.service.store.uploads
    data = bytes(range(256)) * 10
    address = f"/v1/uploads/{hashlib.sha256(data).hexdigest()}"
    sizes = {"Upload_Length": str(len(data))}
    assert (
        ask(service.url, "PATCH", address, token, data[:999], Upload_Offset="0", **sizes)[0] == 200
    )
    clocks.set_back(uploads, 3 * 24 * clocks.HOUR)
    rest = ask(service.url, "PATCH", address, token, data[999:], Upload_Offset="999", **sizes)
    assert rest[2] == {"offset": len(data), "complete": True}


def test_uploads_of_the_future_are_forgotten_as_old_ones_are(service: Running) -> None:
    token, uploads = service.token("future"), service.service.store.uploads
    for number in range(2):
        data = b"%d" % number * 50
        address = f"/v1/uploads/{hashlib.sha256(data).hexdigest()}"
        sizes = {"Upload_Offset": "0", "Upload_Length": str(len(data))}
        assert ask(service.url, "PATCH", address, token, data[:9], **sizes)[0] == 200
        clocks.set_back(uploads, -3 * 24 * clocks.HOUR)
    device = device_of(service.service.store.database, token)
    assert device is not None
    assert len(list((uploads / device.id).iterdir())) == 1


def test_forged_tokens_are_of_nobody(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.service, "failures", Rates(60))
    token = service.token("real")
    for forged in tokens.forged(token, 200, random.Random(6)):
        assert device_of(service.service.store.database, forged) is None, forged
    found = {fault(ask(service.url, "GET", "/v1/students", each))[0]
             for each in tokens.forged(token, 90, random.Random(7))}  # fmt: skip
    assert found == {401, 429}
    assert ask(service.url, "GET", "/v1/students", token)[0] == 200  # it is not slowed down


def test_replayed_requests_change_nothing(service: Running) -> None:
    cloud, learner = contributing(service, "replayed")
    before = service.service.students.release(NAME).contributions
    sent = cloud.contribute(learner)
    assert sent is not None
    body = (cloud.folder / "outbox" / f"{sent.digest}.body").read_bytes()
    token, thief = service.token("again"), service.token("thief")
    address = f"/v1/students/{NAME}/contributions/{sent.digest}"
    upload = f"/v1/uploads/{sent.digest}"
    sizes = {"Upload_Offset": "0", "Upload_Length": str(len(body))}

    def again() -> None:
        for _ in range(5):
            assert ask(service.url, "PATCH", upload, token, body, **sizes)[0] in (200, 409)
            assert ask(service.url, "PUT", address, token)[0] == 200

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.service.students.release(NAME).contributions == before + 1
    assert fault(ask(service.url, "DELETE", address, thief)) == (404, "not_found")


def test_revoked_token_makes_entries_wait_for_a_new_one(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.service, "failures", Rates(60))
    token = service.token("revoked")
    cloud = service.cloud("revoked", token=token, tries=1)
    learner = EdgeLearner(cloud.download(NAME))
    learner.learn(columns(6, 2, 9), ["low"] * 6)
    device = device_of(service.service.store.database, token)
    assert device is not None
    assert revoke_token(service.service.store.database, device.id)
    with pytest.raises(pyedge.RefusedError, match="wanted a token that is in use"):
        cloud.contribute(learner)
    assert len(cloud.waiting()) == 1
    renewed = service.cloud("revoked", tries=1)
    assert [each.state for each in renewed.flush()] == ["counted"]


def test_same_offer_from_many_requests_is_one(service: Running) -> None:
    cloud = service.cloud("offers")
    learner = EdgeLearner(cloud.download(NAME))
    path = service.folder / "offered"
    pyedge.make_category(learner, columns(30, 3, 5), "vase", path)
    data, token = path.read_bytes(), service.token("offerer")
    digest = hashlib.sha256(data).hexdigest()
    sizes = {"Upload_Offset": "0", "Upload_Length": str(len(data))}
    assert ask(service.url, "PATCH", f"/v1/uploads/{digest}", token, data, **sizes)[0] == 200
    found: list[int] = []

    def offer() -> None:
        found.append(ask(service.url, "PUT", f"/v1/students/{NAME}/categories/{digest}", token)[0])

    threads = [threading.Thread(target=offer) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 200 in found
    assert set(found) <= {200, 409}  # 409: the file was being used; the device uploads it again
    assert [each.name for each in cloud.categories(NAME)].count("vase") == 1
