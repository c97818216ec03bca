"""A folder as a stream: tar, whose files are sent as they are read, so memory stays flat."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

_PIECE = 1 << 18
_BLOCK = 512


def tar_stream(folder: Path) -> Iterator[bytes]:
    """Yield a tar of a folder's files."""
    for path in sorted(folder.iterdir()):
        info = tarfile.TarInfo(path.name)
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.USTAR_FORMAT)
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
        yield bytes(-info.size % _BLOCK)
    yield bytes(2 * _BLOCK)
