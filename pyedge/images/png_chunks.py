"""PNG files whose pixels are intact and whose metadata is not.

Pillow refuses a PNG with a broken colour profile or comment; other programs skip these parts
("ancillary chunks", PNG specification, Sec. 4.7).
"""

from __future__ import annotations

import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*")  # what EXIF begins with


def without_damage(data: bytes) -> bytes | None:
    """Return a PNG without its metadata; None if it is not a PNG or has nothing to leave out.

    What decides the pixels is kept, so damage there is still found: all critical chunks, the
    transparency, and an intact EXIF, which has the camera's orientation.
    """
    if not data.startswith(_SIGNATURE):
        return None
    kept, at = [_SIGNATURE], len(_SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunk = data[at : at + 12 + length]
        kind, body = chunk[4:8], chunk[8 : 8 + length]
        whole = zlib.crc32(chunk[4 : 8 + length]) == int.from_bytes(chunk[8 + length :], "big")
        critical = not kind[:1].islower()
        if critical or kind == b"tRNS" or (kind == b"eXIf" and whole and body[:4] in _TIFF):
            kept.append(chunk)
        at += len(chunk)
    mended = b"".join((*kept, data[at:]))
    return None if mended == data else mended
