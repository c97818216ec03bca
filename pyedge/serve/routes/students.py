"""Addresses of students: the list, one of them, its file."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pyedge.serve.answers import Error, StudentAnswer, StudentList
from pyedge.serve.askers import asker, service_of
from pyedge.serve.tokens import Device

router = APIRouter(prefix="/v1/students", tags=["students"])
_NEWEST = 2**31 - 1  # what the database's whole numbers hold
Reader = Annotated[Device, Depends(asker("read"))]
FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (401, 403, 404, 422, 429)
}


@router.get("", responses=FAULTS)
def list_students(request: Request, device: Reader) -> StudentList:
    """List the students, each in its newest version."""
    students = service_of(request).students
    return StudentList(
        students=[StudentAnswer.of(students.release(name)) for name in students.names()]
    )


@router.get("/{name}", responses=FAULTS)
def get_student(name: str, request: Request, device: Reader) -> StudentAnswer:
    """Tell of a student: its newest version and the digest of its file."""
    return StudentAnswer.of(service_of(request).students.release(name))


@router.get("/{name}/file", responses=FAULTS, response_class=FileResponse)
def download_student(
    name: str,
    request: Request,
    device: Reader,
    version: Annotated[int | None, Query(ge=1, le=_NEWEST)] = None,
) -> Response:
    """Download a student's file; Range and If-Range go on where a download was broken off."""
    path, release = service_of(request).students.file(name, version)
    return file_answer(request, str(path), release.digest)


def file_answer(request: Request, path: str, digest: str) -> Response:
    """Answer with a blob. Its ETag is its SHA-256, as is Repr-Digest (RFC 9530)."""
    etag = f'"{digest}"'
    encoded = base64.b64encode(bytes.fromhex(digest)).decode()
    headers = {"etag": etag, "repr-digest": f"sha-256=:{encoded}:"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type="application/octet-stream", headers=headers)
