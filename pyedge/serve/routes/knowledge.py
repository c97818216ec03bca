"""The address of knowledge: a device's images in, what the teacher knows of them out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pyedge.images.edge_images import EdgeImages
from pyedge.serve.answers import Error
from pyedge.serve.askers import asker, service_of
from pyedge.serve.packing import Pack, answer_of
from pyedge.serve.refusals import RefusalError, invalid, not_found
from pyedge.serve.routes.uploads import content_length
from pyedge.serve.service import Service
from pyedge.serve.tokens import Device

router = APIRouter(prefix="/v1/students/{name}/knowledge", tags=["knowledge"])
FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (401, 403, 404, 408, 411, 413, 415, 422, 429, 503)
}
_SMALL = 1 << 17  # bytes that take less than to hand them to another thread
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", responses=FAULTS, response_class=StreamingResponse, openapi_extra=_BODY)
async def teach(
    name: str,
    request: Request,
    device: Annotated[Device, Depends(asker("knowledge"))],
    images: Annotated[int, Query(ge=1)],
    pixels: Annotated[Literal["uint8", "float32"], Query()] = "uint8",
    maps: Annotated[bool, Query()] = False,
    dtype: Annotated[Literal["float16", "int8"], Query()] = "float16",
) -> Response:
    """Answer with a pack as a tar: logits, and with `maps` the teacher's maps as well.

    The body: the pixels of `images` images, n c h w, as they lie in memory. None are kept. An
    answer of up to 1 MB is compressed for a device that takes gzip.
    """
    service = service_of(request)
    length = content_length(request)
    known = service.teaching.shape(name) if service.teaching else None
    student = await run_in_threadpool(_taught, service, name) if known is None else known
    shape = (images, *student)
    wanted = math.prod(shape) * np.dtype(pixels).itemsize
    limits = service.limits
    if images > limits.knowledge_images or wanted > limits.body_bytes:
        raise RefusalError(
            413,
            "too_large",
            f"knowledge: images: wanted up to {limits.knowledge_images} and "
            f"{limits.body_bytes} bytes, got {images} and {wanted}",
        )
    if length != wanted:
        raise invalid(f"body: wanted {wanted} bytes for {list(shape)} {pixels}, got {length}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
    if len(body) != wanted:
        raise invalid(f"body: wanted {wanted} bytes, got {len(body)}")
    array = np.frombuffer(body, np.dtype(pixels).newbyteorder("<")).reshape(shape)
    pack = await _answered(service, name, array, student, maps, dtype)
    if isinstance(pack, Path):
        request.state.leftover = pack  # the door removes it, whatever becomes of the answer
    accepted = request.headers.get("accept-encoding", "").replace(" ", "").split(",")
    gzip = "gzip" in accepted
    if not isinstance(pack, Path) and sum(map(len, pack.values())) > _SMALL:
        return await run_in_threadpool(answer_of, pack, gzip=gzip)
    return answer_of(pack, gzip=gzip)


async def _answered(
    service: Service, name: str, array: Any, shape: tuple[int, int, int], maps: bool, dtype: str
) -> Pack:
    from pyedge.serve.lessons import Wanted

    assert service.teaching is not None
    try:
        given = EdgeImages.from_array(array, shape, channels_last=False)
    except ValueError as error:
        raise invalid(f"knowledge: {error}") from None
    return await service.teaching.answer(name, Wanted(given, maps, dtype))


def _taught(service: Service, name: str) -> tuple[int, int, int]:
    """Return the shape of a student's images; RefusalError if no teacher answers for it."""
    row = service.students.row(name)
    if row.teacher is None:
        raise not_found("teacher")
    teaching = service.begin_teaching()
    return teaching.shape(name) or teaching.open(name, service.students.base(row), row.teacher)
