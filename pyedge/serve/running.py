"""Running a service: uvicorn on one port, until SIGTERM or SIGINT, which let requests finish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

try:
    import resource
except ImportError:  # no POSIX: no such limit
    resource = None  # type: ignore[assignment]

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pyedge.serve.app import create_app
from pyedge.serve.service import Service

_KEEP_SECONDS = 20
_FINISH_SECONDS = 30
_MOST_CONNECTIONS = 2000
_OTHER_FILES = 100  # that a service has open besides connections


def protocol(silence_seconds: float) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol, which ends a connection that does not ask or read in time.

    uvicorn waits for ever for the first request of a connection, for the end of any head, for the
    rest of a body that nobody wants, and for a client that does not read its answer.
    """

    class Attentive(H11Protocol):
        _asking: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait_for_request()

        def on_response_complete(self) -> None:
            last = self.cycle
            super().on_response_complete()
            if self.cycle is last:  # else the next request was here already
                self._wait_for_request()

        def _wait_for_request(self) -> None:
            self._stop(self._asking)
            self._asking = self.loop.call_later(silence_seconds, self._check, self.cycle)

        def _check(self, last: Any) -> None:
            if self.cycle is not last:
                return
            if self.transport.is_closing():  # and its client does not read the end of the answer
                self.transport.abort()
            else:
                self.transport.close()
                self._asking = self.loop.call_later(silence_seconds, self.transport.abort)

        def send_400_response(self, msg: str) -> None:
            # uvicorn would put a second head into an answer that is half sent, and let the
            # application go on to answer what has been answered
            running = self.cycle is not None and not self.cycle.response_complete
            if running:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            if running and self.cycle.response_started:
                self.transport.close()
                return
            try:
                super().send_400_response(msg)
            except h11.LocalProtocolError:  # an answer to HEAD has no body: its head is written
                self.transport.close()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reading = self.loop.call_later(silence_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop(self._reading)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop(self._asking)
            self._stop(self._reading)
            super().connection_lost(exc)

        def _stop(self, timer: asyncio.TimerHandle | None) -> None:
            if timer is not None:
                timer.cancel()

    return Attentive


class Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[str], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            kind = "https" if self.config.is_ssl else "http"
            self._listening(f"{kind}://{shown}:{port}")


def make_server(
    service: Service,
    host: str,
    port: int,
    certificate: str | None,
    key: str | None,
    listening: Callable[[str], None],
) -> Server:
    """Make the server of a service. listening: is told the address once it can be asked.

    Raises OSError for a certificate or a key that cannot be read.
    """
    config = uvicorn.Config(
        create_app(service),
        host=host,
        port=port,
        http=protocol(service.limits.silence_seconds),
        ws="none",
        loop="asyncio",
        lifespan="on",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_SECONDS,
        timeout_graceful_shutdown=_FINISH_SECONDS,
        limit_concurrency=_connections(),
    )
    config.load()
    return Server(config, listening)


def _connections() -> int:
    """Return how many connections there may be; more are answered 503.

    A system gives a process as few as 256 or 1024 files unless it asks for more. Without a file for
    the database every request would fail.
    """
    if resource is None:
        return _MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(_MOST_CONNECTIONS, soft - _OTHER_FILES))
    return _MOST_CONNECTIONS


def run(server: Server) -> bool:
    """Run until a signal ends it; tell whether it ever listened."""
    asyncio.run(server.serve())
    return bool(server.started)
