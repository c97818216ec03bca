"""MobileNetV2 (Sandler et al. 2018, Table 2) as a list of nodes, built with numpy alone.

All of it is the student: the seven groups of its table, each tapped behind its last block, with as
many candidates of the teacher as it has blocks. On the device the last projection of each group
learns, and the classifier. Weights are drawn as for the paper's students.
"""

from __future__ import annotations

import math

import numpy as np

from bench.shared.students import BenchStudent
from pyedge.student.builder import GraphBuilder

# expansion, channels, blocks, stride of the first
_GROUPS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
_STEM, _HEAD = 32, 1280


def make_mobilenet(name: str, size: int, classes: int = 10, seed: int = 0) -> BenchStudent:
    """Build it for images of `size` pixels a side."""
    make = _Maker(name, size, np.random.default_rng(seed))
    x = make.conv_norm(0, "features.0", _STEM, 3, stride=2)
    student, block = make.student, 1
    for expansion, channels, blocks, stride in _GROUPS:
        for i in range(blocks):
            name = f"features.{block}"
            x = make.block(x, name, expansion, channels, stride if i == 0 else 1)
            block += 1
        student.taps.append(x)
        student.kept.append(np.arange(channels, dtype=np.int64))
        student.last_convs.append(f"{name}.project.conv")
        student.teacher_channels += (channels,)
        student.candidates += (blocks,)
    x = make.conv_norm(x, f"features.{block}", _HEAD, 1)
    return make.finished(x, classes)


class _Maker:
    """Convolutions with batch norm and ReLU6, whose maps keep about unit variance."""

    def __init__(self, name: str, size: int, random: np.random.Generator) -> None:
        self.builder = GraphBuilder((3, size, size))
        # through 52 layers float32 errs by 5e-3 to 1e-2, in torch too; with maps in 16 bits by 3e-2
        self.student = BenchStudent(name, gradient_tolerance=5e-2)
        self.random = random

    def conv_norm(
        self, x: int, name: str, c: int, kernel: int, stride: int = 1, groups: int = 1,
        relu: bool = True,
    ) -> int:  # fmt: skip
        inside = self.builder.shape(x)[0] // groups
        # the mean square of a ReLU6 behind a norm is about a half
        std = math.sqrt(2 / (inside * kernel * kernel))
        weight = self.random.standard_normal((c, inside, kernel, kernel)) * std
        side = (kernel // 2, kernel // 2)
        steps = {"stride": (stride, stride), "padding": side, "groups": groups}
        x = self.builder.conv(f"{name}.conv", x, weight, **steps)
        x = self.builder.add(
            "batch_norm", f"{name}.norm", [x], eps=1e-5,
            weight=self.random.uniform(0.8, 1.25, c).astype(np.float32),
            bias=self.random.normal(0, 0.1, c).astype(np.float32),
            mean=self.random.normal(0, 0.1, c).astype(np.float32),
            variance=self.random.uniform(0.8, 1.25, c).astype(np.float32),
        )  # fmt: skip
        return self.builder.add("relu6", f"{name}.relu", [x]) if relu else x

    def block(self, x: int, name: str, expansion: int, c: int, stride: int) -> int:
        c_in = self.builder.shape(x)[0]
        wide, y = c_in * expansion, x
        if expansion > 1:
            y = self.conv_norm(y, f"{name}.expand", wide, 1)
        y = self.conv_norm(y, f"{name}.depthwise", wide, 3, stride, groups=wide)
        y = self.conv_norm(y, f"{name}.project", c, 1, relu=False)
        return self.builder.add("add", f"{name}.add", [x, y]) if (stride, c_in) == (1, c) else y

    def finished(self, x: int, classes: int) -> BenchStudent:
        student = self.student
        x = self.builder.add(
            "flatten", "flatten", [self.builder.add("global_avg_pool", "pool", [x])]
        )
        weight = self.random.standard_normal((classes, _HEAD)) * math.sqrt(1 / _HEAD)
        self.builder.add(
            "linear", student.classifier, [x], weight=weight.astype(np.float32),
            bias=np.zeros(classes, np.float32),
        )  # fmt: skip
        student.nodes, student.arrays = self.builder.nodes, self.builder.arrays
        student.shapes = [self.builder.shape(i) for i in range(len(student.nodes))]
        return student
