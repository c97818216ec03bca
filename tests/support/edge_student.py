"""The student of tiny_pair as a StudentFile, with images, for tests of the device's side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.student.file import StudentFile

CLASSES = ("low", "middle", "high")
SIZE = 8


def tiny_student(seed: int = 0) -> StudentFile:
    """Two groups of two convolutions, 4 and 5 channels of the teacher's 6 and 8; 3 classes."""
    random = np.random.default_rng(seed)
    nodes: list[dict[str, Any]] = [{"op": "input", "name": "input", "inputs": []}]
    arrays: dict[str, NDArray[np.float32]] = {}
    taps = []

    def add(op: str, name: str, **fields: Any) -> None:
        nodes.append({"op": op, "name": name, "inputs": [len(nodes) - 1], **fields})

    def array(name: str, *shape: int, scale: float = 1.0, mean: float = 0.0) -> str:
        arrays[name] = (mean + scale * random.standard_normal(shape)).astype(np.float32)
        return name

    def conv(name: str, inside: int, outside: int, stride: int = 1) -> None:
        weight = array(f"{name}.0.weight", outside, inside, 3, 3, scale=(2 / (9 * inside)) ** 0.5)
        add("conv2d", f"{name}.0", weight=weight, bias=None, stride=[stride] * 2, padding=[1, 1],
            dilation=[1, 1], groups=1)  # fmt: skip
        bn = {
            "weight": array(f"{name}.1.weight", outside, scale=0.1, mean=1.0),
            "bias": array(f"{name}.1.bias", outside, scale=0.1),
            "mean": array(f"{name}.1.running_mean", outside, scale=0.1),
            "variance": array(f"{name}.1.running_var", outside, scale=0.01, mean=1.0),
        }
        add("batch_norm", f"{name}.1", **bn, eps=1e-5)
        add("relu", f"{name}.2")

    for group, (inside, outside, stride) in enumerate(((1, 4, 1), (4, 5, 2))):
        conv(f"groups.{group}.0", inside, 3, stride)
        conv(f"groups.{group}.1", 3, outside)
        taps.append(len(nodes) - 1)
    add("global_avg_pool", "pool")
    add("flatten", "flatten")
    weight, bias = array("head.weight", 3, 5, scale=1.0), array("head.bias", 3, scale=0.1)
    add("linear", "head", weight=weight, bias=bias)
    return StudentFile(
        nodes=tuple(nodes),
        arrays=arrays,
        input_shape=(1, SIZE, SIZE),
        output=len(nodes) - 1,
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
