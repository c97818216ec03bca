"""Clients that are slow, that close one half, that come a thousand at once."""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence

from tests.support.cloud_service import NAME
from tests.support.raw_http import opened

_ANSWER_SECONDS = 120.0


def head_of(method: str, path: str, token: str, *more: str) -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def dripped(url: str, token: str, seconds: float) -> list[bytes]:
    """Send parts of requests byte by byte, or never read; return the first line of each answer.

    A head, a second head on a kept connection, a body, and the body of a request that was refused
    before it; each client goes on for `seconds`, or until it is cut off.
    """
    upload = f"/v1/uploads/{'0' * 64}"
    sizes = ("Upload-Offset: 0", "Upload-Length: 50000", "Content-Length: 50000")
    ready = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    clients = {
        "head": b"GET /health HTTP/1.1\r\nX: ",
        "second head": ready + b"GET /health HTTP/1.1\r\nX: ",
        "body": head_of("PATCH", upload, token, *sizes),
        "refused body": head_of("PATCH", upload, "wrong", *sizes),
    }
    found = []
    for name, start in clients.items():
        with opened(url) as connection:
            connection.sendall(start)
            received, deadline = _drip(connection, seconds)
            assert time.monotonic() < deadline, f"{name}: a client may drip for ever"
        found.append(received.partition(b"\r\n")[0])
    return found


def _drip(connection: socket.socket, seconds: float) -> tuple[bytes, float]:
    """Send a byte again and again until the other side closes; return what it has said."""
    deadline, received = time.monotonic() + seconds, b""
    connection.settimeout(0.05)
    while time.monotonic() < deadline:
        try:
            connection.send(b"a")
            piece = connection.recv(4096)
        except TimeoutError:
            continue
        except OSError:
            break
        if not piece:
            break
        received += piece
    return received, deadline


def unread(url: str, token: str, count: int) -> list[socket.socket]:
    """Ask for a large file on some connections, and read nothing."""
    found = []
    for _ in range(count):
        connection = opened(url)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head_of("GET", f"/v1/students/{NAME}/file", token))
        found.append(connection)
    return found


def half_closed(url: str, token: str, count: int, source: random.Random) -> None:
    """Ask, close the sending half or everything at a random place, and go."""
    path = f"/v1/students/{NAME}"
    whole = head_of("PATCH", f"/v1/uploads/{'1' * 64}", token, "Upload-Offset: 0",
                    "Upload-Length: 300", "Content-Length: 300") + b"x" * 300  # fmt: skip
    for number in range(count):
        data = whole if number % 2 else head_of("GET", path, token)
        with opened(url) as connection:
            connection.sendall(data[: source.randrange(len(data) + 1)])
            if number % 3:
                connection.shutdown(socket.SHUT_WR)
            if number % 3 == 2:
                try:
                    while connection.recv(4096):
                        pass
                except OSError:  # reset, which is an answer as well
                    pass


def at_once(url: str, tokens: Sequence[str], count: int, silent: int = 0) -> Counter[int]:
    """Make a request on each of many connections, all open together; return statuses.

    silent: connections beside them that say nothing.
    """
    quiet = [opened(url) for _ in range(silent)]
    found: Counter[int] = Counter()
    with selectors.DefaultSelector() as selector:
        asking = [opened(url) for _ in range(count)]
        for number, connection in enumerate(asking):
            data = head_of("GET", "/v1/students", tokens[number % len(tokens)], "Connection: close")
            connection.sendall(data)
            selector.register(connection, selectors.EVENT_READ, bytearray())
        deadline = time.monotonic() + _ANSWER_SECONDS
        while selector.get_map():
            assert time.monotonic() < deadline, f"{len(selector.get_map())} get no answer"
            for key, _ in selector.select(1):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                piece = connection.recv(1 << 16)
                key.data.extend(piece)
                if not piece:
                    found[int(key.data[9:12] or b"0")] += 1
                    selector.unregister(connection)
    for each in (*asking, *quiet):
        each.close()
    return found
