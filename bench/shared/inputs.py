"""What one step learns from: images, labels, and random but fixed knowledge of a teacher.

The knowledge is that of WRN-28-10 (VGG-16 for the VGG students): four candidate blocks a group,
maps cut to the student's channels in fp16, and norms of the full-width maps. Every number of a map
is exact in fp16, so that all contestants read the same teacher; `full_maps` gives the teacher's
maps at full width, of just those norms, for whoever wants them uncut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bench.shared.students import BenchStudent


@dataclass(frozen=True)
class StepInputs:
    """One batch. A group's maps are k arrays [n, h, w, c_s] float16, its norms [k, n], squared."""

    images: np.ndarray  # uint8 [n, c, h, w]
    labels: np.ndarray  # int64 [n]
    logits: np.ndarray  # float32 [n, classes], the teacher's
    kept: list[np.ndarray]
    teacher_channels: tuple[int, ...]
    maps: list[list[np.ndarray]]
    norms: list[np.ndarray]

    @property
    def batch(self) -> int:
        return len(self.images)

    def part(self, rows: slice) -> StepInputs:
        """Some of the images, and what is known of them."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            logits=self.logits[rows],
            maps=[[m[rows] for m in candidates] for candidates in self.maps],
            norms=[squares[:, rows] for squares in self.norms],
        )

    def standardised(self) -> np.ndarray:
        """The images as the network takes them (Sec. 5), float32 [n, c, h, w]."""
        n, pixels = self.batch, math.prod(self.images.shape[1:])
        x = self.images.reshape(n, pixels).astype(np.float64)
        x -= x.mean(1, keepdims=True)
        x /= np.maximum(x.std(1, keepdims=True), 1 / math.sqrt(pixels))
        return x.reshape(self.images.shape).astype(np.float32)

    def full_maps(self, group: int) -> list[np.ndarray]:
        """The candidates of one group at the teacher's width, float32 [n, c_t, h, w]."""
        rng = np.random.default_rng(1 + group)
        c_t, kept = self.teacher_channels[group], self.kept[group]
        gone = np.setdiff1d(np.arange(c_t), kept)
        results = []
        for cut, square in zip(self.maps[group], self.norms[group], strict=True):
            n, h, w, _ = cut.shape
            full = np.empty((n, c_t, h, w), np.float32)
            full[:, kept] = cut.transpose(0, 3, 1, 2)
            if gone.size:
                rest = rng.standard_normal((n, gone.size, h, w), dtype=np.float32)
                missing = square - squares(cut)
                rest *= np.sqrt(missing / squares(rest)).astype(np.float32)[:, None, None, None]
                full[:, gone] = rest
            results.append(full)
        return results


def squares(x: np.ndarray) -> np.ndarray:
    """Squared norm of each image, float64 [n]; an image at a time, to keep the copies small."""
    return np.array([np.einsum("i,i", v, v) for v in (i.astype(np.float64).ravel() for i in x)])


def make_inputs(student: BenchStudent, batch: int, seed: int = 0) -> StepInputs:
    """Draw a batch of images and the teacher's knowledge of them."""
    rng = np.random.default_rng(seed)
    c, h, w = student.input_shape
    # photographs are smooth: noise of a quarter of the resolution under some of the full one
    coarse = rng.normal(128, 50, (batch, c, -(-h // 4), -(-w // 4)))
    images = coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :h, :w]
    images = np.clip(images + rng.normal(0, 15, images.shape), 0, 255).astype(np.uint8)
    maps, norms = [], []
    for tap, c_t, k in zip(student.taps, student.teacher_channels, student.candidates, strict=True):
        group = [_map(rng, student, tap, batch) for _ in range(k)]
        maps.append(group)
        norms.append(np.stack([squares(m) for m in group]) * (c_t / group[0].shape[3]))
    return StepInputs(
        images,
        labels=rng.integers(0, student.classes, batch),
        logits=(3 * rng.standard_normal((batch, student.classes))).astype(np.float32),
        kept=student.kept,
        teacher_channels=student.teacher_channels,
        maps=maps,
        norms=norms,
    )


def _map(rng: np.random.Generator, student: BenchStudent, tap: int, n: int) -> np.ndarray:
    """Draw one block's map, float16 [n, h, w, c].

    As in a network, most of it is smooth: a mean of each channel (so that candidates differ in
    direction), an offset of each image, and a little of every pixel's own.
    """
    c, h, w = student.shapes[tap]
    x = rng.standard_normal((n, h, w, c), dtype=np.float32)
    x *= 0.25
    x += 0.5 * rng.standard_normal((n, 1, 1, c), dtype=np.float32)
    x += rng.standard_normal(c, dtype=np.float32)
    if student.nodes[tap]["op"] == "relu":
        np.maximum(x, 0, out=x)
    return x.astype(np.float16)
