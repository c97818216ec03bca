"""A server of the standard library that answers as a test tells it: broken, late, lying."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Gives each request to the test's function."""

    protocol_version = "HTTP/1.1"
    body = b""

    def handle_one_request(self) -> None:
        """Answer, and take a connection that a test breaks for its end."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _any(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path))  # type: ignore[attr-defined]
        self.server.answer(self)  # type: ignore[attr-defined]

    do_GET = do_PUT = do_PATCH = do_POST = do_DELETE = _any  # noqa: N815

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def say(self, status: int, content: bytes, **headers: str) -> None:
        """Answer with some content."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Run a server; yield its address and the list of what it is asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    asked: list[tuple[str, str]] = []
    server.answer, server.asked = answer, asked  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
