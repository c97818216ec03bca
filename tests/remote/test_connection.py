"""A device's requests: repeated until they are answered, and no answer believed unseen."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import pyedge
from pyedge.remote.backoff import asked, pauses
from pyedge.remote.connection import Address, Connection
from pyedge.remote.downloads import digest_of, download
from pyedge.remote.outbox import Outbox
from tests.support.edge_student import images, tiny_student
from tests.support.scripted_server import Handler, serving


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Count pauses instead of making them."""
    made: list[float] = []
    monkeypatch.setattr("pyedge.remote.connection.time.sleep", made.append)
    return made


def connection(url: str, **options: Any) -> Connection:
    settings: dict[str, Any] = {"timeout": 5, "tries": 4, "ca": None, **options}
    return Connection(Address.of(url, False), "token", **settings)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("cloud.example", r"url: wanted https://HOST"),
        ("ftp://cloud.example", r"url: wanted https://HOST"),
        ("https://me:word@cloud.example", r"url: wanted https://HOST"),
        ("https://cloud.example:99999", r"url: wanted https://HOST"),
        ("https://cloud.example/?x=1", r"url: wanted it without \? and #"),
        ("http://cloud.example", r"url: wanted https://, or plain=True"),
    ],
)
def test_cloud_takes_addresses_that_keep_the_token_secret(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pyedge.Cloud(url)


def test_cloud_knows_its_arguments(tmp_path: Path) -> None:
    cloud = pyedge.Cloud("http://cloud.example/base/", plain=True, folder=tmp_path)
    assert repr(cloud) == "Cloud('http://cloud.example:80/base')"
    for wrong, message in (
        ({"timeout": 0}, "timeout: wanted a number above 0, got 0"),
        ({"tries": 0}, "tries: wanted a whole number from 1, got 0"),
        ({"token": "é"}, "token: wanted one of pyedge serve token add"),
    ):
        with pytest.raises(ValueError, match=message):
            pyedge.Cloud("https://c", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Cloud: wanted arguments among url, token, .* 'tokne'"):
        pyedge.Cloud("https://c", tokne="x")  # type: ignore[call-arg]
    assert cloud.waiting() == ()


def test_pauses_grow_and_differ() -> None:
    found = [list(pauses(8, random.Random(seed))) for seed in range(200)]
    assert len(found[0]) == 7
    most = [max(each[i] for each in found) for i in range(7)]
    assert all(b > 1.5 * a for a, b in pairwise(most[:6]))
    assert max(most) <= 10
    assert len({each[3] for each in found}) == 200
    assert [asked(each) for each in (None, "3", "-1", "soon", "999")] == [0, 3, 0, 0, 60]


def test_request_is_repeated_until_it_is_answered(no_pauses: list[float]) -> None:
    count = 0

    def answer(to: Handler) -> None:
        nonlocal count
        count += 1
        if count == 1:
            to.say(503, b"{}", Retry_After="7")
        elif count == 2:
            to.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort")
            to.close_connection = True
        elif count == 3:
            to.say(200, b"<html>a hotel's page</html>")
        else:
            to.say(200, b'{"good": 1}')

    with serving(answer) as (url, _):
        assert connection(url).json("GET", "/x") == {"good": 1}
    assert count == 4
    assert no_pauses[0] == 7


def test_refusal_is_not_repeated() -> None:
    def answer(to: Handler) -> None:
        to.say(403, b'{"error": {"code": "scope", "message": "wanted a scope"}}')

    with (
        serving(answer) as (url, asked_for),
        pytest.raises(pyedge.RefusedError, match="wanted a scope") as error,
    ):
        connection(url).json("GET", "/x")
    assert (error.value.status, error.value.code) == (403, "scope")
    assert len(asked_for) == 1


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"error": 3}', b'["error"]', b"[" * 9999])
def test_refusal_in_strange_words_is_one(content: bytes) -> None:
    with (
        serving(lambda to: to.say(404, content)) as (url, _),
        pytest.raises(pyedge.RefusedError, match="404 Not Found"),
    ):
        connection(url).json("GET", "/x")


def test_unreachable_service_is_told_after_all_tries(no_pauses: list[float]) -> None:
    with pytest.raises(pyedge.OfflineError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        connection("http://127.0.0.1:9").json("GET", "/x")
    assert len(no_pauses) == 3


def test_service_that_says_nothing_is_given_up() -> None:
    with serving(lambda to: time.sleep(0) or to.connection.settimeout(2) or to.rfile.read(1)) as (
        url,
        _,
    ):
        began = time.monotonic()
        with pytest.raises(pyedge.OfflineError, match="timed out"):
            connection(url, timeout=0.3, tries=2).json("GET", "/x")
        assert time.monotonic() - began < 5


def test_answer_of_another_kind_is_no_student(tmp_path: Path) -> None:
    good = {"name": "a", "version": 1, "digest": "0" * 64, "bytes": 5, "classes": ["x"],
            "contributions": 0, "images": 1, "teacher": False}  # fmt: skip
    for change in ({"name": "../x"}, {"digest": "0"}, {"bytes": -1}, {"bytes": 1 << 40},
                   {"classes": [1]}, {"version": True}):  # fmt: skip
        content = json.dumps({"students": [{**good, **change}]}).encode()
        with (
            serving(lambda to, content=content: to.say(200, content)) as (url, _),
            pytest.raises(
                pyedge.FormatError, match=f"the service's answer: {next(iter(change))}: wanted"
            ),
        ):
            pyedge.Cloud(url, folder=tmp_path).students()


DATA = bytes(range(256)) * 400
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_download_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    ranges = []

    def answer(to: Handler) -> None:
        ranges.append(to.headers.get("Range"))
        start = int((ranges[-1] or "bytes=0-")[6:-1])
        status = 206 if start else 200
        to.send_response(status)
        to.send_header("Content-Length", str(len(DATA) - start))
        if start:
            assert to.headers["If-Range"] == f'"{DIGEST}"'
            to.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        to.end_headers()
        to.wfile.write(DATA[start : start + 40_000])
        to.close_connection = True

    with serving(answer) as (url, _):
        download(connection(url), "/f", DIGEST, len(DATA), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA
    starts = [int(each[6:-1]) for each in ranges[1:]]
    assert len(starts) >= 2
    assert starts == sorted(starts)
    assert starts[0] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_download_begins_anew_where_ranges_are_unknown(tmp_path: Path) -> None:
    (tmp_path / f".{DIGEST}.part").write_bytes(b"wrong" * 10)
    with serving(lambda to: to.say(200, DATA)) as (url, _):
        download(connection(url), "/f", DIGEST, len(DATA), tmp_path / "f")
    assert digest_of(tmp_path / "f") == DIGEST


@pytest.mark.parametrize("content", [DATA[:-1] + b"x", DATA + b"x"])
def test_download_of_another_file_is_not_believed(tmp_path: Path, content: bytes) -> None:
    with (
        serving(lambda to: to.say(200, content)) as (url, _),
        pytest.raises(
            (pyedge.FormatError, pyedge.OfflineError),
            match=r"another file|more than the 102400 bytes",
        ),
    ):
        download(connection(url), "/f", DIGEST, len(DATA), tmp_path / "f")
    assert not (tmp_path / "f").exists()


def tar(*members: tuple[str, bytes, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kind
            info.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            archive.addfile(info, io.BytesIO(content) if content else None)
    return stream.getvalue()


FILE = tarfile.REGTYPE


def say_packed(to: Handler, content: bytes) -> None:
    to.say(200, gzip.compress(content), Content_Encoding="gzip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar(("../evil.npy", b"x", FILE)), "holds what no knowledge pack has"),
        (tar(("/tmp/evil.npy", b"x", FILE)), "holds what no knowledge pack has"),
        (tar(("logits.npy", b"", tarfile.SYMTYPE)), "holds what no knowledge pack has"),
        (tar(("logits.npy", b"", tarfile.LNKTYPE)), "holds what no knowledge pack has"),
        (tar(("logits.npy", b"x", FILE), ("logits.npy", b"y", FILE)), "holds a file twice"),
        (tar(("logits.npy", b"x", FILE)), "not a knowledge pack"),
        (tar(("manifest.json", b"{}", FILE)), "not the manifest of a knowledge pack"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_pack_from_a_service_is_not_trusted(
    tmp_path: Path, content: bytes, message: str, packed: bool
) -> None:
    student = tiny_student()
    record = ({"command": "serve", "student": "rows", "version": 1},)
    student = type(student)(**{**vars(student), "record": record})
    with (
        serving(lambda to: say_packed(to, content) if packed else to.say(200, content)) as (url, _),
        pytest.raises(pyedge.FormatError, match=message),
    ):
        pyedge.Cloud(url, folder=tmp_path, tries=1).knowledge(student, images(2)[0])
    assert list((tmp_path / "packs").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (gzip.compress(bytes(100 << 20)), pyedge.FormatError, "larger than 4194304 bytes"),
        (gzip.compress(bytes(9000))[:-5], pyedge.OfflineError, "breaks off"),
        (b"not gzip at all", pyedge.OfflineError, "a broken answer"),
    ],
    ids=["too large", "cut off", "no gzip"],
)
def test_compressed_answer_is_not_trusted(
    tmp_path: Path, content: bytes, error: type[Exception], message: str
) -> None:
    student = tiny_student()
    record = ({"command": "serve", "student": "rows", "version": 1},)
    student = type(student)(**{**vars(student), "record": record})
    with (
        serving(lambda to: to.say(200, content, Content_Encoding="gzip")) as (url, _),
        pytest.raises(error, match=message),
    ):
        pyedge.Cloud(url, folder=tmp_path, tries=1).knowledge(student, images(2)[0])


@pytest.fixture
def learner(tmp_path: Path) -> pyedge.EdgeLearner:
    """A learner that began as a served student, and has learned since."""
    pixels, labels = images(90)
    student = pyedge.add_statistics(tiny_student(), pixels, labels)
    served = {"command": "serve", "student": "rows", "version": 1}
    student = type(student)(**{**vars(student), "record": (*student.record, served)})
    (tmp_path / "students").mkdir()
    pyedge.write_student(student, tmp_path / "students" / "rows.1.pyedge")
    found = pyedge.EdgeLearner(tmp_path / "students" / "rows.1.pyedge")
    found.learn(*images(12, seed=4))
    return found


def taking(to: Handler) -> None:
    """Answer as a service that takes everything."""
    digest = to.path.rpartition("/")[2]
    if to.command == "PUT":
        told = {"digest": digest, "student": "rows", "state": "counted", "reason": ""}
    else:
        size = int(to.headers.get("Upload-Length", 0))
        told = {"offset": size, "complete": size > 0}
    to.say(200, json.dumps(told).encode())


def test_contribution_waits_for_the_network(tmp_path: Path, learner: pyedge.EdgeLearner) -> None:
    offline = pyedge.Cloud("http://127.0.0.1:9", folder=tmp_path, tries=1)
    sent = offline.contribute(learner)
    assert sent is not None
    assert sent.state == "waiting"
    assert "cannot be reached" in sent.reason
    assert offline.contribute(learner) is None  # it is in the outbox, and counts once
    with serving(taking) as (url, asked_for):
        online = pyedge.Cloud(url, folder=tmp_path, tries=1)
        assert [each.digest for each in online.waiting()] == [sent.digest]
        assert [each.state for each in online.flush()] == ["counted"]
        assert online.flush() == ()
        assert [each[0] for each in asked_for] == ["GET", "PATCH", "PUT"]
    assert offline.waiting() == ()


def test_outbox_survives_a_kill_at_any_moment(tmp_path: Path, learner: pyedge.EdgeLearner) -> None:
    """A process that contributes is killed again and again; what it leaves is whole or nothing."""
    learner.save(tmp_path / "taught.pyedge")
    code = (
        "import sys, pyedge\n"
        "cloud = pyedge.Cloud('http://127.0.0.1:9', folder=sys.argv[1], tries=1)\n"
        "learner = pyedge.EdgeLearner(sys.argv[1] + '/taught.pyedge')\n"
        "print('ready', flush=True)\n"
        "cloud.contribute(learner)\n"
    )
    source = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        _wait(source.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        outbox = Outbox(tmp_path / "outbox")
        for entry in outbox.entries():
            assert digest_of(outbox.body(entry)) == entry.digest
    cloud = pyedge.Cloud("http://127.0.0.1:9", folder=tmp_path, tries=1)
    cloud.contribute(learner)
    assert len(cloud.waiting()) == 1


def _wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_upload_that_a_service_was_killed_at_the_end_of_is_finished(
    tmp_path: Path, learner: pyedge.EdgeLearner
) -> None:
    """All bytes are there, and it has not looked at them: it is asked to."""
    bodies: list[bytes] = []

    def answer(to: Handler) -> None:
        if to.command == "PATCH" and not bodies:
            bodies.append(to.body)
            raise OSError("killed")
        if to.command == "GET":
            told = {"offset": sum(map(len, bodies)), "complete": False}
            to.say(200, json.dumps(told).encode())
            return
        bodies.append(to.body)
        taking(to)

    with serving(answer) as (url, asked_for):
        sent = pyedge.Cloud(url, folder=tmp_path, tries=2).contribute(learner)
    assert sent is not None
    assert sent.state == "counted"
    assert [each[0] for each in asked_for] == ["GET", "PATCH", "GET", "PATCH", "PUT"]
    assert bodies[1] == b""


def test_outbox_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    for name, text in (("a.json", "{"), ("b.json", "{}"), ("c.json", '{"digest": "c"}')):
        path = tmp_path / "outbox" / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(pyedge.FormatError, match=r"not an entry of an outbox"):
            pyedge.Cloud("https://c", folder=tmp_path).waiting()
        path.unlink()


def test_refused_contribution_is_not_sent_again(
    tmp_path: Path, learner: pyedge.EdgeLearner
) -> None:
    def answer(to: Handler) -> None:
        if to.command == "PUT":
            to.say(422, b'{"error": {"code": "invalid", "message": "features: too large"}}')
        else:
            taking(to)

    with serving(answer) as (url, asked_for):
        cloud = pyedge.Cloud(url, folder=tmp_path, tries=1)
        with pytest.raises(pyedge.RefusedError, match="features: too large"):
            cloud.contribute(learner)
        assert cloud.flush() == ()
        assert cloud.waiting() == ()
        assert len(asked_for) == 3


def test_device_side_of_a_cloud_is_small_and_needs_numpy_alone() -> None:
    package = Path(pyedge.__file__).parent  # as installed: of a wheel no sources need be here
    names = (
        "edge/teacher.py",
        "images/given_file.py",
        "cli/category_online.py",
        "cli/cloud_options.py",
    )
    sources = [*(package / "remote").glob("*.py"), *(package / each for each in names)]
    assert len(sources) > 10
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sources:
            archive.write(path)
    assert len(stream.getvalue()) < 60_000
    code = (
        "import sys\n"
        "from importlib.metadata import packages_distributions\n"
        "before = set(sys.modules)\n"  # what a start of Python brings: an editable install's finder
        "import pyedge\n"
        "pyedge.Cloud\n"
        "known = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(known & packages_distributions().keys() - {'numpy', 'pyedge'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
