"""Addresses for people and their tools: the page, metrics, health."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from pyedge.serve.answers import Health
from pyedge.serve.askers import asker, service_of
from pyedge.serve.page import page
from pyedge.serve.tokens import Device

router = APIRouter(tags=["people"])
Watcher = Annotated[Device, Depends(asker("watch"))]
# nothing is loaded, and nothing runs: names from devices stay text even if an escape were wrong
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


@router.get("/", response_class=HTMLResponse)
def show(request: Request, device: Watcher) -> HTMLResponse:
    """Show students, categories, contributions, devices and latency."""
    return HTMLResponse(page(service_of(request)), headers={"content-security-policy": _POLICY})


@router.get("/metrics", response_class=Response)
def metrics(request: Request, device: Watcher) -> Response:
    """Tell Prometheus what was counted."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/health")
async def health() -> Health:
    """Answer while the process lives."""
    return Health(status="ok")


@router.get("/ready", response_model=Health)
def ready(request: Request) -> Response:
    """Answer 200 if the database answers and the service is not stopping, else 503."""
    service = service_of(request)
    good = not service.stopping and service.store.database.answers()
    return JSONResponse({"status": "ok" if good else "not ready"}, 200 if good else 503)
