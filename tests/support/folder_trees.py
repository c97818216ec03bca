"""Folders and archives of small images, for tests of what is read from them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np

SIDE = 6


def pixels(seed: int, h: int = SIDE, w: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def tree(*names: str) -> dict[str, bytes]:
    return {name: encoded(pixels(i)) for i, name in enumerate(names)}


def folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, data in members.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    """Return a chunk of a PNG file."""
    import zlib

    check = zlib.crc32(kind + body) if crc is None else crc
    return len(body).to_bytes(4, "big") + kind + body + check.to_bytes(4, "big")
