"""The door: every request passes here, is timed, logged and counted, and cannot go silent."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pyedge.serve.logs import LOGGER, log
from pyedge.serve.refusals import RefusalError
from pyedge.serve.service import Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SLOWEST = 1000  # bytes a second of a body, once it is late: the slowest of networks has more
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]


class Door:
    """An ASGI application around the service's own."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or run the application's lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        state = scope.setdefault("state", {})
        state["request"] = uuid.uuid4().hex[:12]
        metrics = self._service.metrics
        metrics.running.inc()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message.get("headers", [])}
                own = [each for each in _HEADERS if each[0] not in present]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        try:
            await self._app(scope, self._attentive(receive), sending)
        except Exception:  # the answer has been sent, or the connection is gone
            LOGGER.exception("failed", extra={"fields": {"request": state["request"]}})
        finally:
            metrics.running.dec()
            if "entered" in state:
                self._service.at_once.leave(state["entered"])
            if "leftover" in state:
                await asyncio.to_thread(shutil.rmtree, state["leftover"], ignore_errors=True)
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            metrics.requests.labels(route, str(status)).inc()
            metrics.seconds.labels(route).observe(seconds)
            log(
                "request",
                logging.DEBUG if route in ("/health", "/ready") else logging.INFO,
                request=state["request"],
                method=scope["method"],
                route=route,
                status=status,
                ms=round(1000 * seconds, 1),
                device=state.get("device"),
            )

    def _attentive(self, receive: Receive) -> Receive:
        """Refuse a body of which nothing comes for too long, or too little."""
        whole, received, began = False, 0, time.monotonic()

        async def receiving() -> Message:
            nonlocal whole, received
            if whole:  # what still comes is the end of the connection
                return await receive()
            seconds = self._service.limits.silence_seconds
            try:
                message = await asyncio.wait_for(receive(), seconds)
            except asyncio.TimeoutError:
                raise RefusalError(
                    408, "silent", f"body: wanted something in {seconds:g} s, got nothing"
                ) from None
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            received += len(message.get("body", b""))
            late = time.monotonic() - began - seconds
            if not whole and received < late * _SLOWEST:
                raise RefusalError(
                    408, "slow", f"body: wanted {_SLOWEST} bytes a second, got {received} in all"
                )
            return message

        return receiving
