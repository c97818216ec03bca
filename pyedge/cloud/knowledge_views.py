"""Views: an image unchanged, or shifted and flipped as in augmentation, and how to repeat that.

A view is the preprocessed image, first mirrored if `flip` says so, and then read at
(y + dy, x + dx) with 0 outside: the engine does the same on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.data.augment import Augment
from pyedge.images.edge_images import EdgeImages
from pyedge.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class Views:
    """shift int32 [V*N, 2] (dy, dx) and flip bool [V*N] of view v of image i, at v * N + i."""

    shift: NDArray[np.int32]
    flip: NDArray[np.bool_]

    @classmethod
    def plain(cls, images: int) -> Views:
        """Return one view of each image: the image itself."""
        return cls(np.zeros((images, 2), np.int32), np.zeros(images, np.bool_))

    def apply(self, images: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the views of these rows, made from their preprocessed images [n, c, h, w]."""
        shift, flip = self.shift[rows], self.flip[rows]
        if not (shift.any() or flip.any()):
            return images
        p = int(np.abs(shift).max())
        _, _, h, w = images.shape
        mirrored = np.where(flip[:, None, None, None], images[..., ::-1], images)
        padded = np.pad(mirrored, ((0, 0), (0, 0), (p, p), (p, p)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
        return windows[np.arange(len(rows)), :, shift[:, 0] + p, shift[:, 1] + p]


def draw_views(
    images: int, views: int, shape: tuple[int, int, int], augment: Augment, seed: int, plain: bool
) -> Views:
    """Draw the views of images c h w; with `plain`, the first view is the image itself.

    View v uses the choices that `augment` draws from the seed [seed, v].
    """
    _, h, w = shape
    shifts, flips = [], []
    for view in range(views):
        draw = augment.draw(images, h, w, np.random.default_rng([seed, view]))
        shift = (draw.shift - augment.crop_padding).astype(np.int32)
        flip = draw.flip & augment.flip
        if view == 0 and plain:
            shift, flip = np.zeros_like(shift), np.zeros_like(flip)
        # Augment mirrors after it has cropped, the engine before: the mirror turns dx round
        shift[flip, 1] *= -1
        shifts.append(shift)
        flips.append(flip)
    return Views(np.concatenate(shifts), np.concatenate(flips))


def preprocess(
    images: EdgeImages, index: NDArray[np.int64], preprocessing: Mapping[str, Any]
) -> NDArray[np.float32]:
    """Return some images as the networks take them, float32 [n, c, h, w].

    preprocessing: kind "image" (`pyedge.data.standardise`), "channel" ((x/255 - mean) / deviation
    of its channel) or "none" (x/255), for uint8 images; float32 ones are preprocessed already.
    """
    pixels = images.planar(index)
    if pixels.dtype == np.float32:
        return pixels
    return Preprocessing.of(preprocessing).apply(pixels)
