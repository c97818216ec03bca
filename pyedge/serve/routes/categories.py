"""Addresses of a student's catalogue of category files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pyedge.serve.answers import OfferAnswer, OfferList
from pyedge.serve.askers import Digest, asker, service_of
from pyedge.serve.routes.students import FAULTS, file_answer
from pyedge.serve.tokens import Device

router = APIRouter(prefix="/v1/students/{name}/categories", tags=["categories"])
Reader = Annotated[Device, Depends(asker("read"))]
Offerer = Annotated[Device, Depends(asker("offer"))]


@router.get("", responses=FAULTS)
def list_categories(name: str, request: Request, device: Reader) -> OfferList:
    """List the category files of a student, the newest first."""
    found = service_of(request).categories.list(name)
    return OfferList(categories=[OfferAnswer.of(each) for each in found])


@router.get("/{digest}", responses=FAULTS, response_class=FileResponse)
def download_category(name: str, digest: Digest, request: Request, device: Reader) -> Response:
    """Download a category file."""
    return file_answer(request, str(service_of(request).categories.file(name, digest)), digest)


@router.put("/{digest}", responses=FAULTS)
def offer_category(name: str, digest: Digest, request: Request, device: Offerer) -> OfferAnswer:
    """Offer a category file that has been uploaded; the same again changes nothing."""
    return OfferAnswer.of(service_of(request).categories.offer(name, digest, device.id))


@router.delete("/{digest}", status_code=204, responses=FAULTS)
def remove_category(name: str, digest: Digest, request: Request, device: Offerer) -> None:
    """Take back an own offer."""
    service_of(request).categories.remove(name, digest, device.id)
