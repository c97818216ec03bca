"""The student of tiny_pair as a StudentFile, with images, for tests of the device's side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyedge.student.builder import GraphBuilder
from pyedge.student.file import StudentFile

CLASSES = ("low", "middle", "high")
SIZE = 8


def tiny_student(seed: int = 0) -> StudentFile:
    """Two groups of two convolutions, 4 and 5 channels of the teacher's 6 and 8; 3 classes."""
    random = np.random.default_rng(seed)
    build = GraphBuilder((1, SIZE, SIZE))

    def numbers(*shape: int, scale: float = 1.0, mean: float = 0.0) -> NDArray[np.float32]:
        return (mean + scale * random.standard_normal(shape)).astype(np.float32)

    def conv(name: str, source: int, c: int, stride: int = 1) -> int:
        inside = build.shape(source)[0]
        weight = numbers(c, inside, 3, 3, scale=(2 / (9 * inside)) ** 0.5)
        x = build.conv(f"{name}.0", source, weight, stride=(stride, stride), padding=(1, 1))
        x = build.add(
            "batch_norm", f"{name}.1", [x], weight=numbers(c, scale=0.1, mean=1.0),
            bias=numbers(c, scale=0.1), mean=numbers(c, scale=0.1),
            variance=numbers(c, scale=0.01, mean=1.0), eps=1e-5,
        )  # fmt: skip
        return build.add("relu", f"{name}.2", [x])

    x, taps = 0, []
    for group, (outside, stride) in enumerate(((4, 1), (5, 2))):
        x = conv(f"groups.{group}.0", x, 3, stride)
        x = conv(f"groups.{group}.1", x, outside)
        taps.append(x)
    x = build.add("global_avg_pool", "pool", [x])
    x = build.add("flatten", "flatten", [x])
    x = build.add("linear", "head", [x], weight=numbers(3, 5), bias=numbers(3, scale=0.1))
    return StudentFile(
        nodes=tuple(build.nodes),
        arrays=build.arrays,
        input_shape=(1, SIZE, SIZE),
        output=x,
        taps=tuple(taps),
        kept=(np.array([0, 2, 3, 5]), np.array([1, 2, 4, 5, 7])),
        teacher_channels=(6, 8),
        last_convs=("groups.0.1.0", "groups.1.1.0"),
        classifier="head",
        trainable=("groups.0.1.0", "groups.1.1.0", "head"),
        classes=CLASSES,
    )


def images(count: int = 48, seed: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Three classes that differ in their bright rows: uint8 [n, 1, 8, 8] and labels [n]."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 100, (count, 1, SIZE, SIZE)).astype(np.uint8)
    labels = np.arange(count) % 3
    for i, label in enumerate(labels):
        pixels[i, :, 2 * label : 2 * label + 3] += 120
    return pixels, labels.astype(np.int64)


def changed(before: StudentFile, after: StudentFile) -> set[str]:
    """Name the arrays that differ."""
    return {
        name
        for name, value in before.arrays.items()
        if not np.array_equal(value, after.arrays[name])
    }
