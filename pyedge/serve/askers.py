"""Who asks, and whether it may: tokens in requests, scopes, rates."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Path
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from pyedge.serve.refusals import RefusalError
from pyedge.serve.service import Service
from pyedge.serve.tokens import Device

# in an address; anything else is refused before it comes near a path or a database
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


def service_of(request: Request) -> Service:
    """Return the service that a request is made to."""
    found: Service = request.app.state.service
    return found


def asker(scope: str) -> Callable[[Request], Awaitable[Device]]:
    """Make a dependency that lets devices pass whose token has this scope."""

    async def checked(request: Request) -> Device:
        service = service_of(request)
        token = _token(request, basic=scope == "watch")
        address = request.client.host if request.client else "?"
        device = await _device(service, token) if token else None
        if device is None:
            _slow_down(service.failures.take(address))
            raise RefusalError(
                401, "token", "authorization: wanted a token that is in use, got none"
            )
        request.state.device = device.id
        _slow_down(service.rates.take(device.id))
        if not service.at_once.enter(device.id):
            most = service.limits.requests_at_once
            raise RefusalError(
                429, "at_once", f"requests: wanted up to {most} at a time", retry_after=1
            )
        request.state.entered = device.id  # the door lets go of it
        if scope not in device.scopes:
            raise RefusalError(
                403, "scope", f"authorization: wanted a token with the scope {scope}"
            )
        return device

    return checked


async def _device(service: Service, token: str) -> Device | None:
    known = service.tokens.remembered(token)
    return known or await run_in_threadpool(service.tokens.device_of, token)


def _slow_down(wait: float) -> None:
    if wait:
        seconds = math.ceil(wait)
        raise RefusalError(
            429, "rate", f"requests: wanted the next one in {seconds} s", retry_after=seconds
        )


def _token(request: Request, *, basic: bool) -> str:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if basic and kind.lower() == "basic":  # a browser's: any name, the token as the password
        try:
            text = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
        return text.partition(":")[2]
    return ""
