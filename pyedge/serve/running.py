"""Running a service: uvicorn on one port, until SIGTERM or SIGINT, which let requests finish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pyedge.serve.app import create_app
from pyedge.serve.service import Service

_KEEP_SECONDS = 20
_FINISH_SECONDS = 30
_MOST_CONNECTIONS = 2000


def protocol(silence_seconds: float) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol, which closes a connection that does not ask in time.

    uvicorn waits for ever for the first request of a connection, and for the end of its head.
    """

    class Attentive(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._asked = self.loop.call_later(silence_seconds, self._check)

        def _check(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._asked.cancel()
            super().connection_lost(exc)

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
        limit_concurrency=_MOST_CONNECTIONS,
    )
    config.load()
    return Server(config, listening)


def run(server: Server) -> bool:
    """Run until a signal ends it; tell whether it ever listened."""
    asyncio.run(server.serve())
    return bool(server.started)
