"""A pack as an answer: tar, whose files are sent as they are read, so memory stays flat.

A small one, of logits alone, never comes near a disk. It is sent whole, and compressed where the
device takes that: most of a tar of small files is zeros.
"""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from starlette.responses import Response, StreamingResponse

_PIECE = 1 << 18
_BLOCK = 512
_GZIP = 31  # of zlib: the largest window, in gzip's form
_TYPE = "application/x-tar"

Pack = Path | Mapping[str, bytes]  # a folder, or a small one's files by their names


def answer_of(pack: Pack, *, gzip: bool) -> Response:
    """Return the answer that a pack is. gzip: whether the device takes gzip."""
    if isinstance(pack, Path):
        return StreamingResponse(tar_stream(pack), media_type=_TYPE)
    content, headers = b"".join(tar_stream(pack)), {"vary": "accept-encoding"}
    if gzip:
        packer = zlib.compressobj(wbits=_GZIP)
        content = packer.compress(content) + packer.flush()
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=_TYPE, headers=headers)


def tar_stream(pack: Pack) -> Iterator[bytes]:
    """Yield a tar of a pack's files, in pieces of some 256 kB: each costs a change of threads."""
    waiting = bytearray()
    for part in _parts(pack):
        waiting += part
        if len(waiting) >= _PIECE:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _parts(pack: Pack) -> Iterator[bytes]:
    for name in sorted(path.name for path in pack.iterdir()) if isinstance(pack, Path) else pack:
        info = tarfile.TarInfo(name)
        with _opened(pack, name) as file:
            info.size = file.seek(0, os.SEEK_END)
            file.seek(0)
            yield info.tobuf(tarfile.USTAR_FORMAT)
            while piece := file.read(_PIECE):
                yield piece
        yield bytes(-info.size % _BLOCK)
    yield bytes(2 * _BLOCK)


def _opened(pack: Pack, name: str) -> BinaryIO:
    return (pack / name).open("rb") if isinstance(pack, Path) else io.BytesIO(pack[name])
