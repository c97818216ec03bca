"""What the tests of knowledge packs share: a teacher, images, and what a pack says of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pyedge.data import standardise
from tests.support.edge_student import SIZE
from tests.support.tiny_pair import TinyTeacher, pair


def loud_teacher() -> TinyTeacher:
    """Make a teacher whose answers differ from image to image."""
    teacher = pair(seed=3)[1].eval()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(2)
    return teacher


def pixels(n: int, seed: int = 0) -> np.ndarray:
    """Grey images uint8 [n, 1, 8, 8], each another."""
    return np.random.default_rng(seed).integers(0, 256, (n, 1, SIZE, SIZE), dtype=np.uint8)


def answers(teacher: nn.Module, images: np.ndarray) -> tuple:
    with torch.no_grad():
        return teacher.eval()(standardise(torch.from_numpy(images)))


def restored(batch: dict, group: int, block: int) -> np.ndarray:
    """A block's maps of a batch, float64 [n, h, w, c], as the engine sees them."""
    maps, scales = batch["maps"][group][block]
    rows = batch["map_rows"]
    factor = 1.0 if scales is None else scales[rows].astype(np.float64)[:, None, None, None]
    return maps[rows].astype(np.float64) * factor
