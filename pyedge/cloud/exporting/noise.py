"""A batch of noise with invented knowledge, and the losses on it in torch, by the paper's formulas.

It uses all three losses, so that gradients reach every layer that can learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyedge.runs.run_options import DEFAULT_LAMBDAS
from pyedge.student.file import StudentFile
from pyedge.student.tail import terms

Forward = Callable[[Tensor], tuple[Tensor, list[Tensor]]]


@dataclass(frozen=True)
class Batch:
    """Noise as images, as labels, and as a teacher's knowledge of them."""

    images: NDArray[np.float32]  # n c h w
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]  # the teacher's
    maps: list[NDArray[np.float32]]  # the teacher's, of each group: n h w c
    norms: list[NDArray[np.float64]]  # squared, of each group: [1, n]

    @classmethod
    def of(cls, student: StudentFile, count: int, seed: int) -> Batch:
        """Draw `count` images."""
        random, layers = np.random.default_rng(seed), student.layers()
        maps = []
        for tap in student.taps:
            c, h, w = layers[tap].shape
            maps.append(random.standard_normal((count, h, w, c)).astype(np.float32))
        images = random.standard_normal((count, *student.input_shape)).astype(np.float32)
        labels = random.integers(0, len(student.classes), count)
        logits = random.standard_normal((count, len(student.classes))).astype(np.float32)
        found = terms(student)
        # a teacher has the same masks; as a difference they would drown everything else
        logits[:, found.masked] = found.shift[found.masked]
        return cls(
            images,
            labels,
            logits,
            maps,
            # a teacher's whole map is longer than the channels that the student faces
            [1.5 * np.square(each, dtype=np.float64).sum((1, 2, 3))[None] for each in maps],
        )

    @property
    def rows(self) -> NDArray[np.int64]:
        """All images."""
        return np.arange(len(self.images))

    def knowledge(self) -> dict[str, Any]:
        """Return what Engine.step takes besides images and rows."""
        return {
            "labels": self.labels,
            "logits": self.logits,
            "maps": [[(each, None)] for each in self.maps],
            "map_rows": self.rows,
            "norms": self.norms,
            "lambdas": DEFAULT_LAMBDAS,
        }


def gradients(
    forward: Forward, weights: Mapping[str, Tensor], batch: Batch
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return the logits, and the loss's gradient for each of `weights`, by autograd in float64.

    forward: images n c h w -> logits and the tap of each group.
    """
    logits, taps = forward(torch.from_numpy(batch.images).double())
    j_1 = (logits - torch.from_numpy(batch.logits)).square().mean().sqrt()
    j_3 = F.cross_entropy(logits, torch.from_numpy(batch.labels))
    loss = DEFAULT_LAMBDAS[0] * j_1 + DEFAULT_LAMBDAS[2] * j_3
    for tap, teacher, norms in zip(taps, batch.maps, batch.norms, strict=True):
        loss = loss + DEFAULT_LAMBDAS[1] * _distance(tap, teacher, float(norms.sum()))
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return logits.detach().numpy(), {
        name: np.zeros(weight.shape) if gradient is None else gradient.numpy()
        for (name, weight), gradient in zip(weights.items(), found, strict=True)
    }


def _distance(tap: Tensor, teacher: NDArray[np.float32], square: float) -> Tensor:
    """Return J_b of one group; an all-zero map has no direction, and no gradient."""
    norm = tap.square().sum().sqrt()
    if not float(norm.detach()):
        return tap.sum() * 0
    inner = (tap.permute(0, 2, 3, 1) * torch.from_numpy(teacher)).sum()
    return (2 - 2 * inner / (norm * math.sqrt(square))).sqrt()
