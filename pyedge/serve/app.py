"""The ASGI application of a service."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from pyedge._version import __version__
from pyedge.serve.door import Door
from pyedge.serve.logs import LOGGER, log
from pyedge.serve.refusals import RefusalError
from pyedge.serve.routes import (
    categories,
    contributions,
    gifts,
    knowledge,
    people,
    students,
    uploads,
)
from pyedge.serve.service import Service

# a disk that takes no more: full, over its owner's quota, over the largest file
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROUTERS = (people, students, categories, contributions, gifts, uploads, knowledge)


def create_app(service: Service) -> Door:
    """Make the application; it closes the service's store when it ends."""
    return Door(inner_app(service), service)


def inner_app(service: Service | None) -> FastAPI:
    """Make the application without its door; without a service it only describes itself."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log("started", version=__version__)
        yield
        assert service is not None
        service.stopping = True
        if service.teaching is not None:
            service.teaching.close()
        service.store.close()
        log("stopped")

    app = FastAPI(
        title="pyedge serve",
        version=__version__,
        description="Students, knowledge, categories, sums and images for many devices.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    for each in _ROUTERS:
        app.include_router(each.router)
    app.add_exception_handler(RefusalError, _refused)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(kind, _without_database)
    app.add_exception_handler(OSError, _of_system)
    app.add_exception_handler(Exception, _failed)
    return app


def _answer(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def _refused(request: Request, error: Any) -> Response:
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        # a browser asks for a password where people look, and there alone
        kind = "Bearer" if request.url.path.startswith("/v1/") else "Basic"
        headers["www-authenticate"] = f'{kind} realm="pyedge", charset="UTF-8"'
    if error.status in (408, 411, 413, 415):  # the rest of the body is not read
        headers["connection"] = "close"
    return _answer(error.status, error.code, str(error), headers)


def _of_http(request: Request, error: Any) -> Response:
    codes = {404: "not_found", 405: "method"}
    known = codes.get(error.status_code, "http")
    return _answer(error.status_code, known, str(error.detail), dict(error.headers or {}))


def _invalid(request: Request, error: Any) -> Response:
    """Name what is wrong, without repeating what came."""
    first = error.errors()[0]
    where = ".".join(str(each) for each in first["loc"][1:])
    return _answer(422, "invalid", f"{where}: {first['msg'][:200]}")


def _gone(request: Request, error: Any) -> Response:
    return Response(status_code=400)  # nobody reads it


def _without_database(request: Request, error: Any) -> Response:
    """Answer while the database is away, locked by another process, or its disk is full."""
    _log_error(request, "the database does not answer", error)
    if "full" in str(getattr(error, "orig", "")):
        return _disk_is_full()
    message = "the service's database does not answer"
    return _answer(503, "database", message, {"retry-after": "2"})


def _of_system(request: Request, error: Any) -> Response:
    uploads = request.app.state.service.store.uploads
    if error.errno == errno.ENOENT and Path(str(error.filename)).is_relative_to(uploads):
        message = "upload: wanted a file that is there, got one that another request has used"
        return _answer(409, "not_uploaded", message)
    if error.errno not in _FULL:
        return _failed(request, error)
    _log_error(request, "the disk is full", error)
    return _disk_is_full()


def _disk_is_full() -> Response:
    return _answer(507, "full", "the service's disk is full", {"retry-after": "30"})


def _log_error(request: Request, event: str, error: Exception) -> None:
    fields = {"request": request.state.request, "error": f"{type(error).__name__}: {error}"[:300]}
    log(event, logging.ERROR, **fields)


def _failed(request: Request, error: Any) -> Response:
    number = request.state.request
    LOGGER.log(logging.ERROR, "failed", exc_info=error, extra={"fields": {"request": number}})
    return _answer(500, "failed", f"the service failed; its log tells why, at request {number}")
