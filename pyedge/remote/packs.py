"""Packs from a service: a tar that is unpacked without trust, and verified before it is used."""

from __future__ import annotations

import http.client
import io
import re
import tarfile
import zlib
from pathlib import Path
from typing import IO

from pyedge.errors import FormatError
from pyedge.knowledge.format import MANIFEST

_NAME = re.compile(r"[a-z]+(\.[0-9]{1,4}){0,2}\.npy")
_MOST_FILES = 4096
_PIECE = 1 << 18
_MOST_UNPACKED = 4 << 20  # of an answer that comes compressed: a small one
_GZIP = 31  # of zlib: the largest window, in gzip's form


def unpack(answer: http.client.HTTPResponse, folder: Path, most_bytes: int) -> None:
    """Write the files of a tar stream into a folder.

    Raises FormatError for a member that is no file of a pack, for one that is there twice, and for
    more than `most_bytes`; HTTPException for a stream that breaks off.
    """
    left = most_bytes
    try:
        with tarfile.open(fileobj=_plain(answer), mode="r|") as archive:
            for number, member in enumerate(archive):
                good = member.isreg() and not member.issparse() and number < _MOST_FILES
                if not good or (member.name != MANIFEST and not _NAME.fullmatch(member.name)):
                    raise FormatError("the service's answer holds what no knowledge pack has")
                left -= member.size
                if left < 0:
                    raise FormatError(f"the service's answer is larger than {most_bytes} bytes")
                source = archive.extractfile(member)
                assert source is not None
                with (folder / member.name).open("xb") as file:
                    while piece := source.read(_PIECE):
                        file.write(piece)
    except FileExistsError:
        raise FormatError("the service's answer holds a file twice") from None
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise http.client.HTTPException(f"a broken answer: {error}") from None
    answer.read()  # what follows the end of the tar, so that the connection can go on


def _plain(answer: http.client.HTTPResponse) -> IO[bytes]:
    """Return a stream of what an answer holds, which may have come compressed."""
    if answer.headers.get("Content-Encoding", "identity") != "gzip":
        return answer
    unpacker = zlib.decompressobj(wbits=_GZIP)
    content = unpacker.decompress(answer.read(_MOST_UNPACKED), _MOST_UNPACKED)
    if unpacker.unconsumed_tail:
        raise FormatError(f"the service's answer is larger than {_MOST_UNPACKED} bytes")
    if not unpacker.eof:
        raise EOFError("the compressed answer breaks off")
    return io.BytesIO(content)
