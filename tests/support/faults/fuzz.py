"""Requests that nobody should make: nearly HTTP, from real requests that are bent."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.support.cloud_service import NAME
from tests.support.faults.crowds import head_of
from tests.support.raw_http import opened

_PATHS = (
    "/", "/health", "/ready", "/metrics", "/v1/openapi.json", "/v1/students",
    f"/v1/students/{NAME}", f"/v1/students/{NAME}/file?version=1",
    f"/v1/students/{NAME}/categories",
    f"/v1/students/{NAME}/categories/{'0' * 64}", f"/v1/students/{NAME}/contributions/{'0' * 64}",
    f"/v1/uploads/{'0' * 64}", f"/v1/students/{NAME}/knowledge?images=1",
)  # fmt: skip
_ODD = (
    "%00", "%ff", "%ed%a0%80", "..%2f", "é", "9" * 30, "9" * 5000, "-1", "1e309", "NaN", "\t", "'",
    "\x00", "\x7f", "?", "#", "//", ";", "a" * 3000, "[]=", "&version=" + "9" * 25, "\r\n", "\n",
)  # fmt: skip
_HEADERS = (
    "Content-Length: 10", "Content-Length: 99999999999999999999", "Content-Length: -1",
    "Content-Length: +1", "Content-Length: 0x10", "Transfer-Encoding: chunked",
    "Expect: 100-continue", "Transfer-Encoding: gzip", "Upload-Offset: 0", "Upload-Length: 10",
    "Upload-Offset: " + "9" * 400, "Upload-Length: 1e3", "Range: bytes=9-1",
    "Range: bytes=0-0,1-1,2-2", "Range: bytes=-99999999999",
    "Range: bytes=" + "0-1," * 500, "If-Range: x", "If-None-Match: *", "Authorization: Basic ????",
    "Upgrade: websocket", "Connection: Upgrade", "Content-Encoding: gzip", "Accept-Encoding: gzip",
    "Host: a", "X: " + "b" * 20_000, "Content-Type: multipart/form-data", "Cookie: " + "c=d;" * 100,
)  # fmt: skip
_METHODS = (
    "GET",
    "PUT",
    "PATCH",
    "POST",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "",
)
_TOGETHER = 7  # one device may have 8 requests at a time
_SILENCE = 0.5
_BODIES = (b"", b"0123456789", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"\x00" * 300)


def malformed(url: str, token: str, count: int, source: random.Random) -> Counter[int]:
    """Send bent requests, some of them together; return the statuses of their first answers.

    0: the connection was closed without one.
    """
    requests = [
        b"".join(_bent(token, source) for _ in range(source.choice((1, 1, 1, 2))))
        for _ in range(count)
    ]
    found: Counter[int] = Counter()
    with ThreadPoolExecutor(_TOGETHER) as pool:
        for data, answer in zip(requests, pool.map(partial(_said, url), requests), strict=True):
            for status in _statuses(answer):
                found[status] += 1
                assert status < 500, (data[:500], answer[:500])
                assert b"Traceback" not in answer, answer
    return found


def _bent(token: str, source: random.Random) -> bytes:
    path = source.choice(_PATHS)
    if source.random() < 0.5:
        place = source.randrange(1, len(path) + 1)
        path = path[:place] + source.choice(_ODD) + path[place + source.randrange(3) :]
    more = [source.choice(_HEADERS) for _ in range(source.choice((0, 0, 1, 3)))]
    more += ["Connection: close"] if source.random() < 0.9 else []
    head = head_of(source.choice(_METHODS), path, token, *more)
    data = bytearray(head + source.choice(_BODIES))
    for _ in range(source.choice((0, 0, 0, 0, 0, 1, 5))):
        data[source.randrange(len(data))] = source.randrange(256)
    return bytes(data[: source.randrange(len(data))] if source.random() < 0.1 else data)


def _said(url: str, data: bytes) -> bytes:
    """Send, and return what comes before a short silence; then leave, whatever is under way."""
    received = b""
    with opened(url) as connection:
        connection.settimeout(_SILENCE)
        try:
            connection.sendall(data)
            while piece := connection.recv(1 << 16):
                received += piece
        except OSError:  # reset: it had bytes of ours that it did not want
            pass
    return received


def _statuses(answer: bytes) -> list[int]:
    lines = [part for part in answer.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]
    return [int(each[:3]) for each in lines] or [0]
