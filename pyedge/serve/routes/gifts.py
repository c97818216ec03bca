"""Addresses of images that a device lets the cloud train on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from pyedge.serve.answers import Error, GiftAnswer, GiftList
from pyedge.serve.askers import Digest, asker, service_of
from pyedge.serve.tokens import Device

router = APIRouter(prefix="/v1/students/{name}/images", tags=["images"])
Giver = Annotated[Device, Depends(asker("images"))]
FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (401, 403, 404, 409, 413, 422, 429, 507)
}


@router.get("", responses=FAULTS)
def list_images(name: str, request: Request, device: Giver) -> GiftList:
    """List what this device has given, the oldest first."""
    found = service_of(request).gifts.list(name, device.id)
    return GiftList(images=[GiftAnswer.of(each) for each in found])


@router.put("/{digest}", responses=FAULTS)
def give_images(
    name: str,
    digest: Digest,
    request: Request,
    device: Giver,
    consent: Annotated[bool, Query()] = False,
) -> GiftAnswer:
    """Keep images that have been uploaded, to train on; without `consent` they are removed."""
    found = service_of(request).gifts.add(name, digest, device.id, consent=consent)
    return GiftAnswer.of(found)


@router.delete("/{digest}", status_code=204, responses=FAULTS)
def withdraw_images(name: str, digest: Digest, request: Request, device: Giver) -> None:
    """Take own images back; their file is removed unless another device has given it as well."""
    service_of(request).gifts.remove(name, digest, device.id)
