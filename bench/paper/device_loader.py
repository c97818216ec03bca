"""Batches that are made on the GPU: images stay there as bytes, and are distorted there.

A student takes more images a second than a core of the CPU crops, flips and cuts out. The choices
are drawn as `BatchLoader` draws them, so that both give the same batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.paper.slices import SlicedLoader
from pyedge.data import Augment, standardise
from pyedge.data.augment import Draw


def distorted(images: Tensor, augment: Augment, draw: Draw) -> Tensor:
    """Do what `Augment.apply` does, on any device: float [n, c, h, w] to a new tensor."""
    n, _, h, w = images.shape
    device, p = images.device, augment.crop_padding
    shift, centre = (torch.from_numpy(np.asarray(each)).to(device) for each in (draw[0], draw[2]))
    x = F.pad(images, (p, p, p, p)) if p else images
    rows = torch.arange(h, device=device)
    columns = torch.arange(w, device=device).expand(n, -1)
    places = rows.expand(n, -1)
    if augment.flip:
        flip = torch.from_numpy(draw.flip).to(device)
        columns = torch.where(flip[:, None], columns.flip(1), columns)
    if p:
        places, columns = places + shift[:, :1], columns + shift[:, 1:]
    every = torch.arange(n, device=device)[:, None, None]
    x = x.permute(0, 2, 3, 1)[every, places[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if augment.cutout:
        first = centre - augment.cutout // 2
        inside = [_within(first[:, i], augment.cutout, size) for i, size in enumerate((h, w))]
        x = x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
    return x.contiguous(memory_format=torch.channels_last)


def _within(first: Tensor, length: int, size: int) -> Tensor:
    offset = torch.arange(size, device=first.device) - first[:, None]
    return (offset >= 0) & (offset < length)


class DeviceLoader(SlicedLoader):
    """A SlicedLoader of "image" preprocessing whose batches are made on `device`."""

    def __init__(self, *args: Any, device: torch.device, **options: Any) -> None:
        super().__init__(*args, prefetch=0, **options)
        self._images = self.dataset.images.to(device)
        self._labels = self.dataset.labels.to(device)

    def _batch(self, positions: np.ndarray, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(positions).to(self._images.device)
        x = standardise(self._images[chosen])
        if self.augment is not None:
            random = np.random.default_rng([self.seed, epoch, index])
            draw = self.augment.draw(len(positions), *x.shape[2:], random)
            x = distorted(x, self.augment, draw)
        return x, self._labels[chosen]
