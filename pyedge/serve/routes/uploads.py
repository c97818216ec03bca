"""Addresses of uploads: how much is here, and the next piece."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from pyedge.serve.answers import Error, Offset
from pyedge.serve.askers import Digest, asker, service_of
from pyedge.serve.refusals import RefusalError
from pyedge.serve.tokens import Device

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (401, 403, 408, 409, 411, 413, 422, 429, 507)
}


@router.get("/{digest}", responses=FAULTS)
def get_offset(
    digest: Digest, request: Request, device: Annotated[Device, Depends(asker("read"))]
) -> Offset:
    """Tell how many bytes of an upload are here."""
    offset, complete = service_of(request).uploads.offset(device.id, digest)
    return Offset(offset=offset, complete=complete)


@router.patch("/{digest}", responses=FAULTS)
async def append(
    digest: Digest,
    request: Request,
    device: Annotated[Device, Depends(asker("read"))],
    upload_offset: Annotated[int, Header(ge=0)],
    upload_length: Annotated[int, Header(ge=1)],
) -> Offset:
    """Append the body to an upload; what came before a broken connection stays.

    Upload-Offset: where the body belongs. Upload-Length: the size of the whole file.
    """
    uploads = service_of(request).uploads
    length = content_length(request)
    part = await run_in_threadpool(
        uploads.open, device.id, digest, upload_offset, length, upload_length
    )
    received = 0
    try:
        async for piece in request.stream():
            received += len(piece)
            if received > length:
                raise RefusalError(413, "too_large", f"body: wanted {length} bytes, got more")
            await run_in_threadpool(part.write, piece)
    finally:
        await run_in_threadpool(part.close)
    complete = await run_in_threadpool(uploads.finish, device.id, digest, upload_length)
    return Offset(offset=upload_offset + received, complete=complete)


def content_length(request: Request) -> int:
    """Return Content-Length; RefusalError without it, and for a body to be unpacked."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusalError(415, "encoding", "body: wanted it as it is, got it encoded")
    text = request.headers.get("content-length", "")
    if not text.isascii() or not text.isdecimal():
        raise RefusalError(411, "length", "content-length: wanted the size of the body, got none")
    return int(text)
