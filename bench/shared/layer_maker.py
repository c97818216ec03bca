"""Convolutions with batch norm and a ReLU, of whole networks as lists of nodes, by numpy alone.

Weights are drawn as for the paper's students, so that maps keep about unit variance.
"""

from __future__ import annotations

import math

import numpy as np

from bench.shared.students import BenchStudent
from pyedge.student.builder import GraphBuilder


class LayerMaker:
    """Adds layers to a student, whose graph is complete once `finished` has been called."""

    def __init__(self, name: str, size: int, relu: str, seed: int) -> None:
        self.builder = GraphBuilder((3, size, size))
        # through some 50 layers float32 errs by 5e-3 to 1e-2, in torch too; with maps in 16 bits by
        # 3e-2
        self.student = BenchStudent(name, gradient_tolerance=5e-2)
        self.random = np.random.default_rng(seed)
        self.relu = relu

    def channels(self, x: int) -> int:
        return self.builder.shape(x)[0]

    def conv_norm(
        self, x: int, name: str, c: int, kernel: int, stride: int = 1, groups: int = 1,
        relu: bool = True, gain: float = 1.0,
    ) -> int:  # fmt: skip
        inside = self.channels(x) // groups
        # the mean square of a ReLU6 behind a norm is about a half
        std = gain * math.sqrt(2 / (inside * kernel * kernel))
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
        return self.builder.add(self.relu, f"{name}.relu", [x]) if relu else x

    def tap(self, x: int, last_conv: str, candidates: int) -> None:
        """End a group with the map `x`: all of it is the teacher's, of so many blocks."""
        c = self.channels(x)
        self.student.taps.append(x)
        self.student.kept.append(np.arange(c, dtype=np.int64))
        self.student.last_convs.append(last_conv)
        self.student.teacher_channels += (c,)
        self.student.candidates += (candidates,)

    def finished(self, x: int, classes: int) -> BenchStudent:
        """Put a classifier behind `x` and return the student."""
        student, c = self.student, self.channels(x)
        x = self.builder.add(
            "flatten", "flatten", [self.builder.add("global_avg_pool", "pool", [x])]
        )
        weight = self.random.standard_normal((classes, c)) * math.sqrt(1 / c)
        self.builder.add(
            "linear", student.classifier, [x], weight=weight.astype(np.float32),
            bias=np.zeros(classes, np.float32),
        )  # fmt: skip
        student.nodes, student.arrays = self.builder.nodes, self.builder.arrays
        student.shapes = [self.builder.shape(i) for i in range(len(student.nodes))]
        return student
