"""Asking a teacher in the cloud: a device's images as a request, and the pack that is answered."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyedge.images.edge_images import EdgeImages
from pyedge.knowledge.pack import Knowledge
from pyedge.remote.connection import Connection
from pyedge.remote.contributing import served_as
from pyedge.remote.packs import unpack

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile

_MOST_BYTES_OF_IMAGE = 64 << 20  # of a pack, for each image


@dataclass(frozen=True)
class Question:
    """What is asked of some images. key: the same for the same question."""

    address: str
    body: bytes
    images: int
    key: str

    @classmethod
    def of(cls, student: StudentFile, images: Any, maps: bool, dtype: str) -> Question:
        """Ask of images for a student; ValueError if it is not a service's, or there are none."""
        served = served_as(student)
        if served is None:
            raise ValueError("knowledge: student: wanted one of Cloud.download, got another")
        given = EdgeImages.of(
            images, student.input_shape, labelled=None, preprocessing=student.preprocessing
        )
        if not len(given):
            raise ValueError("knowledge: images: wanted at least one, got none")
        pixels = given.planar(np.arange(len(given), dtype=np.int64))
        body = np.asarray(pixels, pixels.dtype.newbyteorder("<"), order="C").tobytes()
        query = f"images={len(given)}&pixels={pixels.dtype.name}&maps={str(maps).lower()}"
        address = f"/v1/students/{served[0]}/knowledge?{query}&dtype={dtype}"
        key = hashlib.sha256(f"{address} {student.structure_digest} ".encode() + body).hexdigest()
        return cls(address, body, len(given), key)


def fetch(connection: Connection, question: Question, path: Path) -> None:
    """Ask, and put the pack that is answered at `path`: whole, or not at all."""
    part = path.with_name("new")
    path.parent.mkdir(parents=True, exist_ok=True)

    def read(answer: Any) -> None:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        unpack(answer, part, question.images * _MOST_BYTES_OF_IMAGE)

    headers = {"Content-Type": "application/octet-stream", "Accept-Encoding": "gzip"}
    try:
        connection.request("POST", question.address, read=read, headers=headers, body=question.body)
        Knowledge(part)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
