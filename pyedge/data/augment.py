"""Standardisation and augmentation of whole batches (Sec. 5 of the paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyedge.images.preprocessing import standardise_array


def standardise(images: Tensor) -> Tensor:
    """Subtract each image's mean and divide by its deviation: [n, c, h, w] -> float32, same shape.

    (x - mean) / max(std, 1 / sqrt(c h w)) over all pixels and channels of an image (Sec. 5), so
    that brightness and contrast of a photo do not matter; the bound keeps an image of one colour at
    0. Takes uint8 or floats, on any device; gives no gradient. Floats should also be pixels from 0
    to 255, or the bound flattens images of little contrast. Raises ValueError unless there are four
    dimensions.
    """
    if images.dim() != 4:
        raise ValueError(f"standardise: wanted images [n, c, h, w], got {list(images.shape)}")
    if images.device.type == "cpu":
        return torch.from_numpy(standardise_array(images.detach().numpy()))
    return _standardise_on_device(images)


@torch.no_grad()
def _standardise_on_device(images: Tensor) -> Tensor:
    x = images.to(torch.float32).flatten(1)
    x = x - x.mean(1, keepdim=True)
    root = math.sqrt(max(x.shape[1], 1))
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return (x * (root / norm.clamp(min=1))).view(images.shape)


class Draw(NamedTuple):
    """The random choices for n images; `part` returns those for some of them."""

    shift: np.ndarray  # [n, 2] offset of the crop in the padded image
    flip: np.ndarray  # [n] bool
    centre: np.ndarray  # [n, 2] centre of the cutout

    def part(self, where: slice) -> Draw:
        """Take the choices of the images at `where`."""
        return Draw(self.shift[where], self.flip[where], self.centre[where])


@dataclass(frozen=True)
class Augment:
    """Pad and crop, flip left to right, cut out a square: each image of a batch differently.

    The defaults are the paper's for CIFAR-10 (Sec. 5): 4 pixels of padding, flips with probability
    0.5, cutout of 16x16 (DeVries & Taylor 2017: the centre anywhere, so part of the square may lie
    outside). Padding and cutout are 0: on standardised images, to which the loader applies them,
    that is the image's mean. 0 or False switches a part off: mirrored digits are not digits.
    """

    crop_padding: int = 4
    flip: bool = True
    cutout: int = 16

    def __post_init__(self) -> None:
        if self.crop_padding < 0 or self.cutout < 0:
            raise ValueError(
                f"Augment: crop_padding and cutout: wanted numbers from 0, got "
                f"{self.crop_padding} and {self.cutout}"
            )

    def draw(self, n: int, h: int, w: int, random: np.random.Generator) -> Draw:
        """Draw the choices for n images of h x w, with the same number of draws in any setting."""
        return Draw(
            random.integers(0, 2 * self.crop_padding + 1, size=(n, 2)),
            random.random(n) < 0.5,
            random.integers(0, (h, w), size=(n, 2)),
        )

    def apply(self, images: np.ndarray, draw: Draw) -> np.ndarray:
        """Apply drawn choices to [n, c, h, w] of any dtype; return a new array.

        Raises ValueError if the cutout would always cover the whole image.
        """
        n, _, h, w = images.shape
        if self.cutout >= 2 * min(h, w):
            raise ValueError(
                f"Augment: cutout: wanted less than {2 * min(h, w)} for images of {h} x {w}, "
                f"or nothing is left of them, got {self.cutout}"
            )
        if self.crop_padding:
            p = self.crop_padding
            padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
            # One strided block copy an image; a gather by pixel costs five times as much.
            out = windows[np.arange(n), :, draw.shift[:, 0], draw.shift[:, 1]]
        else:
            out = np.array(images, order="C")
        if self.flip:
            out[draw.flip] = out[draw.flip, :, :, ::-1]
        if self.cutout:
            first = draw.centre - self.cutout // 2
            rows = _within(first[:, 0], self.cutout, h)
            columns = _within(first[:, 1], self.cutout, w)
            keep = ~(rows[:, :, None] & columns[:, None, :])
            out *= keep[:, None]
        return out

    def __call__(self, images: Tensor, random: np.random.Generator) -> Tensor:
        """Augment a batch [n, c, h, w] (uint8 or float, CPU) with choices from `random`."""
        if images.dim() != 4:
            raise ValueError(f"Augment: wanted images [n, c, h, w], got {list(images.shape)}")
        n, _, h, w = images.shape
        return torch.from_numpy(self.apply(images.numpy(), self.draw(n, h, w, random)))


def _within(first: np.ndarray, length: int, size: int) -> np.ndarray:
    """Mark the positions first..first + length - 1 among 0..size - 1: [n] -> bool [n, size]."""
    offset = np.arange(size) - first[:, None]
    return (offset >= 0) & (offset < length)
