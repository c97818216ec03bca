"""What the service lets in: tokens, scopes, rates, sizes, and requests that nobody should make."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
from pyedge.serve.database import Database
from pyedge.serve.limits import Limits
from pyedge.serve.rates import AtOnce, Rates
from pyedge.serve.refusals import RefusalError
from pyedge.serve.tokens import Tokens, add_token, device_of, list_tokens, revoke_token
from tests.support.cloud_service import NAME, Running, running
from tests.support.raw_http import ask, fault, opened

LIMITS = Limits(
    upload_bytes=50_000, pending_bytes=80_000, requests_per_minute=100_000, silence_seconds=0.6
)
ADDRESSES = [
    ("GET", "/v1/students", "read"),
    ("GET", f"/v1/students/{NAME}/file", "read"),
    ("GET", f"/v1/students/{NAME}/categories", "read"),
    ("PUT", f"/v1/students/{NAME}/categories/{'0' * 64}", "offer"),
    ("PUT", f"/v1/students/{NAME}/contributions/{'0' * 64}", "contribute"),
    ("DELETE", f"/v1/students/{NAME}/contributions/{'0' * 64}", "contribute"),
    ("POST", f"/v1/students/{NAME}/knowledge?images=1", "knowledge"),
    ("GET", "/", "watch"),
    ("GET", "/metrics", "watch"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("guards"), LIMITS) as found:
        yield found


@pytest.mark.parametrize(("method", "path", "scope"), ADDRESSES)
def test_every_address_asks_for_a_token_with_its_scope(
    service: Running, method: str, path: str, scope: str
) -> None:
    others = [s for s in ("read", "offer", "contribute", "knowledge", "watch") if s != scope]
    assert fault(ask(service.url, method, path)) == (401, "token")
    lacking = service.token("lacking", others)
    assert fault(ask(service.url, method, path, lacking)) == (403, "scope")
    enough = service.token("enough", [scope])
    assert ask(service.url, method, path, enough)[0] not in (401, 403)


def test_forged_and_revoked_tokens_are_of_nobody(service: Running) -> None:
    database = service.service.store.database
    token = service.token("gone")
    device = device_of(database, token)
    assert device is not None
    assert device.name == "gone"
    other = service.token("other")
    swapped = token[:24] + other[24:]  # the id of one, the secret of another
    for forged in (token[:-1], token + "a", token.upper(), swapped, "", "pyedge__", "\u0661"):
        assert device_of(database, forged) is None
    assert revoke_token(database, device.id)
    assert not revoke_token(database, device.id)
    assert device_of(database, token) is None
    assert fault(ask(service.url, "GET", "/v1/students", token)) == (401, "token")
    (row,) = [each for each in list_tokens(database) if each.id == device.id]
    assert row.revoked is not None


def test_a_token_is_remembered_until_anything_is_written(service: Running) -> None:
    tokens, database = service.service.tokens, service.service.store.database
    token = service.token("known")
    assert tokens.remembered(token) is None
    for _ in range(2):
        assert ask(service.url, "GET", "/v1/students", token)[0] == 200
        found = tokens.remembered(token)
        assert found == device_of(database, token)
    service.token("another")
    assert tokens.remembered(token) is None
    assert fault(ask(service.url, "GET", "/v1/students", token[:-1] + "?")) == (401, "token")


def test_a_token_revoked_by_another_process_is_of_nobody_at_once(service: Running) -> None:
    token = service.token("left")
    assert ask(service.url, "GET", "/v1/students", token)[0] == 200
    known = service.service.tokens.remembered(token)
    assert known is not None
    command = [sys.executable, "-c", "import sys; from pyedge.cli import main; sys.exit(main())"]
    store = service.service.store.folder
    line = ["serve", "token", "revoke", known.id, "--store", str(store)]
    subprocess.run([*command, *line], check=True, capture_output=True)
    assert fault(ask(service.url, "GET", "/v1/students", token)) == (401, "token")


@pytest.mark.parametrize("url", ["sqlite:///{}", "sqlite:///file:{}?uri=true"])
def test_version_is_of_the_database_that_the_url_names(tmp_path: Path, url: str) -> None:
    path = tmp_path / "x.db"
    database, other = Database(url.format(path)), Database(f"sqlite:///{path}")
    tokens = Tokens(database)
    token = add_token(other, "device")
    device = tokens.device_of(token)
    assert device is not None
    assert tokens.remembered(token) == device
    assert revoke_token(other, device.id)
    assert tokens.remembered(token) is None
    assert tokens.device_of(token) is None
    for each in (database, other):
        each.close()
    assert {each.name for each in tmp_path.iterdir()} == {"x.db"}


def test_no_token_is_remembered_where_changes_cannot_be_seen(service: Running) -> None:
    class Server:
        """A database that must be asked, as PostgreSQL is."""

        def __init__(self, database: Database) -> None:
            self.reading = database.reading

        def version(self) -> None:
            return None

    tokens = Tokens(Server(service.service.store.database))  # type: ignore[arg-type]
    token = service.token("asked")
    assert tokens.device_of(token) is not None
    assert tokens.remembered(token) is None
    assert tokens._known == {}


def test_token_is_kept_as_a_hash_alone(service: Running) -> None:
    token = service.token("secret")
    secret = token.split("_", 2)[2]
    files = [p for p in service.service.store.folder.rglob("*") if p.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in content
    assert secret.encode() not in content


@pytest.mark.parametrize(
    ("name", "scopes", "message"),
    [
        ("", ["read"], r"device: wanted a name of 1 to 100 .* got ''"),
        ("a\nb", ["read"], r"device: .* got 'a\\nb'"),
        ("a", ["all"], r"scopes: wanted some of read, .* got \['all'\]"),
        ("a", [], r"scopes: wanted some of read, .* got \[\]"),
    ],
)
def test_token_needs_a_name_and_known_scopes(
    service: Running, name: str, scopes: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        add_token(service.service.store.database, name, scopes)


def test_rates_refill_evenly() -> None:
    now = [0.0]
    rates = Rates(60, lambda: now[0])
    assert [rates.take("a") for _ in range(60)] == [0.0] * 60
    assert rates.take("a") == pytest.approx(1)
    assert rates.take("b") == 0
    now[0] = 0.5
    assert rates.take("a") == pytest.approx(0.5)
    now[0] = 1.5
    assert rates.take("a") == 0


def test_at_once_counts_what_runs() -> None:
    at_once = AtOnce(2)
    assert [at_once.enter("a") for _ in range(3)] == [True, True, False]
    at_once.leave("a")
    assert at_once.enter("a")
    assert at_once.enter("b")


def test_requests_over_the_rate_are_told_when_to_come_back(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.service, "rates", Rates(1))
    token = service.token("eager")
    assert ask(service.url, "GET", "/v1/students", token)[0] == 200
    answer = ask(service.url, "GET", "/v1/students", token)
    assert fault(answer) == (429, "rate")
    assert 50 <= int(answer[1]["retry-after"]) <= 60
    assert ask(service.url, "GET", "/v1/students", service.token("calm"))[0] == 200


def test_guesses_of_tokens_are_slowed_down(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.service, "failures", Rates(2))
    found = [fault(ask(service.url, "GET", "/v1/students", "x"))[0] for _ in range(4)]
    assert found == [401, 401, 429, 429]


def test_requests_at_once_are_counted_and_let_go(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = AtOnce(0)
    monkeypatch.setattr(service.service, "at_once", at_once)
    token = service.token("many")
    assert fault(ask(service.url, "GET", "/v1/students", token)) == (429, "at_once")
    monkeypatch.setattr(service.service, "at_once", AtOnce(1))
    for _ in range(5):
        assert ask(service.url, "GET", "/v1/students", token)[0] == 200


def upload(service: Running, token: str, data: bytes, **more: str) -> tuple:
    digest = more.pop("digest", hashlib.sha256(data).hexdigest())
    length = more.pop("Upload_Length", str(len(data)))
    headers = {"Upload_Offset": "0", **more}
    return ask(
        service.url, "PATCH", f"/v1/uploads/{digest}", token, data, Upload_Length=length, **headers
    )


def test_uploads_of_wrong_sizes_and_digests_are_refused(service: Running) -> None:
    token = service.token("wrong")
    data = bytes(1000)
    wrong = hashlib.sha256(b"other").hexdigest()
    assert fault(upload(service, token, data, digest=wrong)) == (422, "invalid")
    assert fault(upload(service, token, bytes(50_001))) == (413, "too_large")
    assert fault(upload(service, token, data, Upload_Offset="7")) == (409, "offset")
    assert fault(upload(service, token, data, Upload_Length="900")) == (409, "offset")
    assert fault(upload(service, token, data, Upload_Offset="-1")) == (422, "invalid")
    assert fault(upload(service, token, data, Content_Encoding="gzip")) == (415, "encoding")
    for name in ("..%2f..%2fstore.db", "%2e%2e", "A" * 64, "0" * 63, "x"):
        assert fault(upload(service, token, data, digest=name))[0] in (404, 422)
    assert upload(service, token, data)[2] == {"offset": 1000, "complete": True}
    assert fault(upload(service, token, data)) == (409, "offset")
    folder = service.service.store.uploads
    assert {path.parent.parent for path in folder.rglob("*") if path.is_file()} == {folder}


def test_unused_uploads_of_a_device_have_a_limit(service: Running) -> None:
    token = service.token("hoarder")
    assert upload(service, token, b"a" * 45_000)[0] == 200
    assert fault(upload(service, token, b"b" * 45_000)) == (507, "no_room")
    assert upload(service, service.token("another"), b"b" * 45_000)[0] == 200


def test_upload_goes_on_where_it_was_broken_off(service: Running) -> None:
    token = service.token("patient")
    data = np.random.default_rng(0).bytes(30_000)
    digest = hashlib.sha256(data).hexdigest()
    with opened(service.url) as connection:
        head = (
            f"PATCH /v1/uploads/{digest} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Upload-Offset: 0\r\nUpload-Length: 30000\r\nContent-Length: 30000\r\n\r\n"
        )
        connection.sendall(head.encode() + data[:12_345])
        deadline, told = time.monotonic() + 10, {"offset": 0}
        while told["offset"] < 12_345 and time.monotonic() < deadline:
            told = ask(service.url, "GET", f"/v1/uploads/{digest}", token)[2]
        assert told == {"offset": 12_345, "complete": False}
    rest = upload(
        service, token, data[12_345:], digest=digest, Upload_Offset="12345", Upload_Length="30000"
    )
    assert rest[2] == {"offset": 30_000, "complete": True}


def test_upload_is_written_by_the_latest_request_alone(service: Running) -> None:
    """An earlier connection, which its device has given up, may still have bytes to deliver."""
    uploads, device = service.service.uploads, "0" * 16
    data = bytes(range(200))
    digest = hashlib.sha256(data).hexdigest()
    first = uploads.open(device, digest, 0, 200, 200)
    first.write(data[:50])
    second = uploads.open(device, digest, 50, 150, 200)
    with pytest.raises(RefusalError, match="upload: wanted the latest request"):
        first.write(data[50:100])
    first.close()
    second.write(data[50:])
    second.close()
    assert uploads.finish(device, digest, 200)


def test_request_that_looked_before_another_wrote_appends_nothing(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, uploads = bytes(300), service.service.uploads
    digest = hashlib.sha256(data).hexdigest()
    first = uploads.open("slow", digest, 0, 300, 300)
    monkeypatch.setattr(uploads, "offset", lambda *_: (0, False))  # as both of them saw it
    first.write(data[:100])
    with pytest.raises(RefusalError, match="upload: offset: wanted 100, got 0"):
        uploads.open("slow", digest, 0, 300, 300)
    first.write(data[100:])  # it is still the latest
    first.close()
    assert uploads.finish("slow", digest, 300)


@pytest.mark.parametrize("kind", ["contributions", "categories"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04K\x01.", bytes(2000)])
def test_uploaded_nonsense_is_refused_in_words_that_tell_nothing(
    service: Running, kind: str, content: bytes
) -> None:
    token = service.token("nonsense")
    data = content + np.random.default_rng().bytes(16)
    digest = hashlib.sha256(data).hexdigest()
    address = f"/v1/students/{NAME}/{kind}/{digest}"
    assert fault(ask(service.url, "PUT", address, token)) == (409, "not_uploaded")
    assert upload(service, token, data)[0] == 200
    answer = ask(service.url, "PUT", address, token)
    assert fault(answer) == (422, "invalid")
    assert "the file: not a" in answer[2]["error"]["message"]
    assert str(service.folder) not in str(answer)
    assert fault(ask(service.url, "PUT", address, token)) == (409, "not_uploaded")


def test_zip_that_unpacks_to_more_is_refused(service: Running, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("graph.json", bytes(30_000_000))
    data = (tmp_path / "bomb").read_bytes()
    assert len(data) < 50_000
    token = service.token("bomb")
    assert upload(service, token, data)[0] == 200
    address = f"/v1/students/{NAME}/contributions/{hashlib.sha256(data).hexdigest()}"
    answer = ask(service.url, "PUT", address, token)
    assert fault(answer) == (422, "invalid")
    assert "wanted it stored, got it compressed" in answer[2]["error"]["message"]


def test_silent_requests_are_ended(service: Running) -> None:
    token = service.token("silent")
    half_head = b"GET /v1/students HTTP/1.1\r\nHost: x\r\nX-Slow: "
    half_body = (
        f"PATCH /v1/uploads/{'0' * 64} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Upload-Offset: 0\r\nUpload-Length: 100\r\nContent-Length: 100\r\n\r\nabc"
    ).encode()
    for sent, status in ((b"", b""), (half_head, b""), (half_body, b"HTTP/1.1 408")):
        with opened(service.url) as connection:
            connection.sendall(sent)
            received = b""
            while piece := connection.recv(4096):
                received += piece
        assert received.startswith(status)
        assert bool(received) is bool(status)
    assert ask(service.url, "GET", "/health")[0] == 200


def test_half_closed_and_broken_requests_leave_the_service_as_it_was(service: Running) -> None:
    import socket

    for data in (b"\x16\x03\x01\x02", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 10, b"A" * 100_000):
        with opened(service.url) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            except OSError:  # reset, which is an answer as well
                pass
    assert ask(service.url, "GET", "/health")[2] == {"status": "ok"}
    assert service.service.metrics.running._value.get() <= 1


def test_fuzzed_requests_never_make_it_fail(service: Running) -> None:
    random = np.random.default_rng(1)
    token = service.token("fuzz", ["read", "offer", "contribute", "knowledge", "watch"])
    words = ["v1", "students", NAME, "file", "uploads", "categories", "..", "%00", "%ff", "é",
             "0" * 64, "knowledge?images=", "?version=", "-1", "1e9", "contributions", "metrics",
             "'; DROP TABLE devices; --", "a" * 300, "{name}"]  # fmt: skip
    seen = set()
    for _ in range(300):
        path = "/" + "/".join(random.choice(words, random.integers(1, 6)))
        path = "".join(c if c.isascii() and c > " " else "%20" for c in path)
        method = str(random.choice(["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"]))
        headers = {"Range": str(random.choice(["bytes=9-1", "bytes=-0", "x", "bytes=0-0,2-3"]))}
        body = random.bytes(int(random.integers(0, 64)))
        status, _, content = ask(service.url, method, path, token, body, **headers)
        seen.add(status)
        assert status < 500, (method, path, content)
        assert "Traceback" not in str(content)
    assert {200, 404, 405} <= seen


def test_basic_password_is_for_people_alone(service: Running) -> None:
    token = service.token("person", ["watch", "read"])
    basic = "Basic " + base64.b64encode(f"me:{token}".encode()).decode()
    assert ask(service.url, "GET", "/", Authorization=basic)[0] == 200
    status, headers, _ = ask(service.url, "GET", "/")
    assert (status, headers["www-authenticate"][:5]) == (401, "Basic")
    status, headers, _ = ask(service.url, "GET", "/v1/students", Authorization=basic)
    assert (status, headers["www-authenticate"][:6]) == (401, "Bearer")
    for broken in ("Basic", "Basic ???", "Basic " + base64.b64encode(b"\xff\xfe").decode()):
        assert fault(ask(service.url, "GET", "/", Authorization=broken)) == (401, "token")
