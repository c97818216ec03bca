"""Digests of images: they identify images in any memory layout."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from pyedge.images.edge_images import EdgeImages

DIGEST_BYTES = 16

Digests = NDArray[np.uint8]


def image_digests(images: EdgeImages) -> Digests:
    """Return a digest of each image, uint8 [n, 16]: BLAKE2b over dtype, shape and pixels.

    Pixels are taken in the order c h w, so that both memory layouts give the same.
    """
    start = hashlib.blake2b(
        f"{images.array.dtype.name} {list(images.shape)} ".encode(), digest_size=DIGEST_BYTES
    )
    result = np.empty((len(images), DIGEST_BYTES), dtype=np.uint8)
    for part in images.chunks():
        for i, image in enumerate(images.planar(part), part.start):
            digest = start.copy()
            digest.update(image.data)
            result[i] = np.frombuffer(digest.digest(), dtype=np.uint8)
    return result


def set_digest(digests: Digests) -> str:
    """Return one digest (SHA-256, hexadecimal) for images in this order."""
    return hashlib.sha256(np.ascontiguousarray(digests).tobytes()).hexdigest()
