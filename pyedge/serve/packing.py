"""A pack as an answer: tar, whose files are sent as they are read, so memory stays flat.

A small one, of logits alone, is sent whole, and compressed where the device takes that: most of a
tar of small files is zeros.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

_PIECE = 1 << 18
_BLOCK = 512
_SMALL = 1 << 20
_GZIP = 31  # of zlib: the largest window, in gzip's form
_TYPE = "application/x-tar"


def answer_of(folder: Path, *, gzip: bool) -> Response:
    """Return the answer that a pack is. gzip: whether the device takes gzip."""
    if sum(path.stat().st_size for path in folder.iterdir()) > _SMALL:
        return StreamingResponse(tar_stream(folder), media_type=_TYPE)
    content, headers = b"".join(tar_stream(folder)), {"vary": "accept-encoding"}
    if gzip:
        packer = zlib.compressobj(wbits=_GZIP)
        content = packer.compress(content) + packer.flush()
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=_TYPE, headers=headers)


def tar_stream(folder: Path) -> Iterator[bytes]:
    """Yield a tar of a folder's files, in pieces of some 256 kB: each costs a change of threads."""
    waiting = bytearray()
    for part in _parts(folder):
        waiting += part
        if len(waiting) >= _PIECE:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _parts(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.iterdir()):
        info = tarfile.TarInfo(path.name)
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.USTAR_FORMAT)
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
        yield bytes(-info.size % _BLOCK)
    yield bytes(2 * _BLOCK)
