"""Addresses of contributions: sums that a device adds to a student."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request

from pyedge.serve.answers import ContributionAnswer
from pyedge.serve.askers import Digest, asker, service_of
from pyedge.serve.routes.students import FAULTS
from pyedge.serve.tokens import Device

router = APIRouter(prefix="/v1/students/{name}/contributions", tags=["contributions"])
Contributor = Annotated[Device, Depends(asker("contribute"))]


@router.put("/{digest}", responses=FAULTS)
def contribute(
    name: str, digest: Digest, request: Request, device: Contributor
) -> ContributionAnswer:
    """Add sums that have been uploaded; the same digest again is answered, and not counted."""
    service = service_of(request)
    found = service.contributions.add(name, digest, device.id)
    service.metrics.contributions.labels(found.state).inc()
    return ContributionAnswer.of(found)


@router.get("/{digest}", responses=FAULTS)
def get_contribution(
    name: str, digest: Digest, request: Request, device: Contributor
) -> ContributionAnswer:
    """Tell what became of a contribution."""
    return ContributionAnswer.of(service_of(request).contributions.get(name, digest))


@router.delete("/{digest}", responses=FAULTS)
def withdraw(
    name: str, digest: Digest, request: Request, device: Contributor
) -> ContributionAnswer:
    """Take an own contribution out again, to the last bit."""
    contributions = service_of(request).contributions
    found = contributions.move(name, digest, "withdrawn", "by its device", device.id)
    return ContributionAnswer.of(found)
