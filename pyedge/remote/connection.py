"""Connection: requests to a cloud's service that are repeated until they are answered.

Only requests that may be repeated are made: the service answers a second one as the first.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pyedge._version import __version__
from pyedge.arguments import shown
from pyedge.errors import OfflineError, RefusedError
from pyedge.files.locks import ForkSafeLock
from pyedge.remote.backoff import asked, pauses

_LOCAL = ("127.0.0.1", "::1", "localhost")
_LONGEST_JSON = 16 << 20
# answers after which another try may do better; 507: a disk that is full now
_LATER = (408, 429, 500, 502, 503, 504, 507)
_BROKEN = (OSError, http.client.HTTPException)  # ssl.SSLError is an OSError

Read = Callable[[http.client.HTTPResponse], Any]


@dataclass(frozen=True)
class Address:
    """Where a service is. path: before its own addresses, without a slash at its end."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: Any, plain: bool) -> Address:
        """Read a URL. plain: whether http:// may lead to other machines.

        Raises ValueError for anything but https:// and a host, TypeError for anything but text.
        """
        if not isinstance(url, str):
            raise TypeError(f"Cloud: url: wanted text, got {shown(url)}")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
            raise ValueError(
                f"Cloud: url: wanted https://HOST or https://HOST:PORT, got {shown(url)}"
            )
        if parts.query or parts.fragment:
            raise ValueError(f"Cloud: url: wanted it without ? and #, got {shown(url)}")
        secure = parts.scheme == "https"
        if not secure and not plain and parts.hostname not in _LOCAL:
            raise ValueError(
                f"Cloud: url: wanted https://, or plain=True to send the token in the clear, got "
                f"{shown(url)}"
            )
        port = port or (443 if secure else 80)
        return cls(secure, parts.hostname, port, parts.path.rstrip("/"))

    @property
    def folder_name(self) -> str:
        """A name for a folder of this service."""
        return f"{self.host.replace(':', '-')}_{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}{self.path}"


class Connection:
    """A connection to one service, used by one thread at a time; it is opened when it is needed.

    ca: a file of certificates to trust instead of the system's. timeout: seconds without a byte.
    tries: of each request.
    """

    def __init__(
        self, address: Address, token: str | None, *, timeout: float, tries: int, ca: str | None
    ) -> None:
        self.address = address
        self._token = token
        self._timeout = timeout
        self._tries = tries
        self._context = ssl.create_default_context(cafile=ca) if address.secure else None
        self._lock = ForkSafeLock()
        self._random = random.Random()
        self._open: http.client.HTTPConnection | None = None
        self._process = os.getpid()

    def json(self, method: str, path: str, **more: Any) -> Any:
        """Make a request and return the JSON of its answer; raises as `request`."""
        return self.request(method, path, read=_json, **more)

    def request(
        self,
        method: str,
        path: str,
        *,
        read: Read,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        tries: int | None = None,
    ) -> Any:
        """Make a request, read its answer with `read`, and return what that returns.

        It is made again after a broken connection and after answers that ask for it, at most
        `tries` times; `read` then begins anew. Raises OfflineError, or RefusedError for an answer
        that will not change.
        """
        waits = pauses(self._tries if tries is None else tries, self._random)
        while True:
            why = ""
            try:
                with self._lock, self._answer(method, path, headers or {}, body) as answer:
                    if answer.status < 300:
                        return read(answer)
                    refusal = _refusal(answer)
                    least = asked(answer.headers.get("Retry-After"))
            except _BROKEN as error:
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise OfflineError(f"{self.address}: {error.verify_message}") from error
                refusal, least, why = None, 0.0, str(error) or type(error).__name__
            if refusal is not None and refusal.status not in _LATER:
                raise refusal
            pause = next(waits, None)
            if pause is None:
                what = why if refusal is None else f"it answered: {refusal}"
                raise OfflineError(f"{self.address} cannot be reached: {what}")
            time.sleep(max(pause, least))

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        with self._lock:
            self._hang_up()

    def __del__(self) -> None:
        if hasattr(self, "_process"):  # not where __init__ failed
            self._hang_up()

    @contextmanager
    def _answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield an answer; the connection stays open only if the answer is read to its end."""
        if self._process != os.getpid():  # a fork: the socket is the parent's
            self._open, self._process = None, os.getpid()
        own = {"User-Agent": f"pyedge/{__version__}", "Accept-Encoding": "identity"}
        if self._token is not None:
            own["Authorization"] = f"Bearer {self._token}"
        connection = self._open or self._connection()
        self._open = None
        try:
            connection.request(method, f"{self.address.path}{path}", body, {**own, **headers})
            answer = connection.getresponse()
            yield answer
        except BaseException:
            connection.close()
            raise
        if answer.isclosed() and not answer.will_close:
            self._open = connection
        else:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        address = self.address
        if self._context is None:
            return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)
        return http.client.HTTPSConnection(
            address.host, address.port, timeout=self._timeout, context=self._context
        )

    def _hang_up(self) -> None:
        if self._open is not None and self._process == os.getpid():
            self._open.close()
        self._open = None


def _json(answer: http.client.HTTPResponse) -> Any:
    """Read JSON of a limited size; what is none counts as a broken answer."""
    if answer.status == 204:
        answer.read()
        return None
    data = answer.read(_LONGEST_JSON)
    if answer.read(1):
        raise http.client.HTTPException("an answer of many megabytes where JSON was wanted")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise http.client.HTTPException("an answer that is not JSON") from None


def _refusal(answer: http.client.HTTPResponse) -> RefusedError:
    code, message = "http", f"{answer.status} {answer.reason}"
    try:
        told = _json(answer)["error"]
        if isinstance(told["code"], str) and isinstance(told["message"], str):
            code, message = told["code"][:40], told["message"][:500]
    except (http.client.HTTPException, LookupError, TypeError):
        pass  # not this service's own words: a proxy's page
    return RefusedError(message, answer.status, code)
