"""The paper's students as lists of nodes and arrays of random weights, built with numpy alone.

The ResNets have one pre-activation block a group, with the widths of `WIDTHS`, and are what
`pyedge.compress(wrn_28_10(), widths=...)` makes, node for node and array for array; the VGGs one
conv a group, as `pyedge.compress(vgg16(...), widths=...)` makes them. Weights are drawn as He et
al. 2015, running statistics such that activations keep their size: speed does not depend on them,
as long as about half of every map is zero and nothing is denormal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyedge.student.builder import GraphBuilder

Node = dict[str, Any]
Shape = tuple[int, ...]

# stem, then conv1 and conv2 of each group (Table 1, CIFAR-10); one conv a group (Caltech 101)
WIDTHS: dict[str, tuple[int, ...]] = {
    "resnet1": (14, 120, 138, 286, 272, 94, 640),
    "resnet2": (12, 96, 132, 226, 266, 60, 622),
    "resnet3": (12, 68, 110, 104, 246, 24, 582),
    "resnet4": (12, 54, 78, 48, 210, 8, 498),
    "vgg1": (64, 128, 256, 512, 416),
    "vgg4": (42, 60, 120, 206, 96),
}
_INPUT = (3, 32, 32)
_WRN_STEM, _WRN_GROUPS, _WRN_BLOCKS = 16, (160, 320, 640), 4
_VGG_GROUPS, _VGG_BLOCKS = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)


@dataclass
class BenchStudent:
    """A student's graph, and what the teacher's knowledge of it looks like."""

    name: str
    nodes: list[Node] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: list[Shape] = field(default_factory=list)  # of each node's output, without n
    taps: list[int] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)
    teacher_channels: tuple[int, ...] = ()
    candidates: tuple[int, ...] = ()  # blocks of the teacher in each group
    last_convs: list[str] = field(default_factory=list)
    classifier: str = "classifier"
    # of a batch: rounding turns ReLUs over (bench/step/run.py), the more so the deeper it is
    gradient_tolerance: float = 5e-3

    @property
    def input_shape(self) -> tuple[int, int, int]:
        c, h, w = self.shapes[0]
        return c, h, w

    @property
    def output(self) -> int:
        return len(self.nodes) - 1

    @property
    def classes(self) -> int:
        return self.shapes[-1][0]

    @property
    def last_conv(self) -> list[str]:
        """Nodes that learn on the device (Sec. 4.1): last convs and the classifier."""
        return [*self.last_convs, self.classifier]

    @property
    def full(self) -> list[str]:
        """Nodes that learn in full training: every one with weights."""
        return [n["name"] for n in self.nodes if n["op"] in ("conv2d", "batch_norm", "linear")]

    def parameters(self, names: list[str]) -> list[str]:
        """Name the arrays that learn when the nodes `names` do."""
        learned = (n for n in self.nodes if n["name"] in set(names))
        return [n[key] for n in learned for key in ("weight", "bias") if n.get(key)]

    @property
    def params(self) -> int:
        return sum(self.arrays[name].size for name in self.parameters(self.full))


def make_student(name: str, classes: int = 10, seed: int = 0) -> BenchStudent:
    """Build one of the students in `WIDTHS`. Raises KeyError for another name."""
    widths = WIDTHS[name]
    student, layers = BenchStudent(name), _RandomLayers(np.random.default_rng(seed))
    build = _vgg if name.startswith("vgg") else _resnet
    build(student, layers, widths, classes)
    student.nodes, student.arrays = layers.graph.nodes, layers.graph.arrays
    student.shapes = [layers.graph.shape(index) for index in range(len(student.nodes))]
    return student


class _RandomLayers:
    """Adds layers with random weights to a graph, and keeps the mean square of their channels."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.graph = GraphBuilder(_INPUT)
        self.rng = rng
        self.power: list[np.ndarray] = [np.ones(_INPUT[0])]

    def _add(self, power: np.ndarray, op: str, name: str, *inputs: int, **fields: Any) -> int:
        self.power.append(power)
        return self.graph.add(op, name, inputs, **fields)

    def _normal(self, *shape: int, std: float) -> np.ndarray:
        return (self.rng.standard_normal(shape) * std).astype(np.float32)

    def conv(self, source: int, name: str, c: int, stride: int = 1, bias: bool = False) -> int:
        c_in = self.graph.shape(source)[0]
        gain = 2 if self.graph.nodes[source]["op"] in ("relu", "max_pool") else 1
        weight = self._normal(c, c_in, 3, 3, std=math.sqrt(gain / (9 * c_in)))
        return self._add(
            np.ones(c), "conv2d", name, source, weight=weight,
            bias=self._normal(c, std=0.05) if bias else None,
            stride=[stride, stride], padding=[1, 1], dilation=[1, 1], groups=1,
        )  # fmt: skip

    def batch_norm(self, source: int, name: str) -> int:
        c = self.graph.shape(source)[0]
        values = {
            "weight": self.rng.uniform(0.8, 1.25, c),
            "bias": self.rng.normal(0, 0.1, c),
            "mean": self.rng.normal(0, 0.1, c),
            "variance": self.power[source] * self.rng.uniform(0.8, 1.25, c),
        }
        numbers = {field: value.astype(np.float32) for field, value in values.items()}
        return self._add(np.ones(c), "batch_norm", name, source, **numbers, eps=1e-5)

    def relu(self, source: int, name: str) -> int:
        return self._add(self.power[source], "relu", name, source)

    def add(self, a: int, b: int, name: str) -> int:
        return self._add(self.power[a] + self.power[b], "add", name, a, b)

    def pool(self, source: int, name: str, op: str) -> int:
        window = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]}
        return self._add(self.power[source] / 2, op, name, source, **window)

    def channel_pad(self, source: int, name: str, position: np.ndarray, c: int) -> int:
        power = np.zeros(c)
        stay = position >= 0
        power[position[stay]] = self.power[source][stay]
        places = position.astype(np.int32)
        return self._add(power, "channel_pad", name, source, position=places, channels=c)

    def head(self, source: int, name: str, classes: int, pool: bool) -> None:
        if pool:
            c = self.graph.shape(source)[0]
            source = self._add(np.ones(c), "global_avg_pool", "pool", source)
        flat = math.prod(self.graph.shape(source))
        source = self._add(np.ones(flat), "flatten", "flatten", source)
        weight = self._normal(classes, flat, std=math.sqrt(1 / flat))
        bias = np.zeros(classes, np.float32)
        self._add(np.ones(classes), "linear", name, source, weight=weight, bias=bias)

    def choose(self, count: int, of: int, before: np.ndarray | tuple[()] = ()) -> np.ndarray:
        """Draw which of the teacher's channels stay; nearly all of those `before`, as in life."""
        rank = self.rng.random(of)
        rank[list(before)] += self.rng.random(len(before)) < 0.95
        return np.sort(np.argsort(rank)[of - count :]).astype(np.int64)


def _resnet(
    student: BenchStudent, build: _RandomLayers, widths: tuple[int, ...], classes: int
) -> None:
    student.teacher_channels = _WRN_GROUPS
    student.candidates = (_WRN_BLOCKS,) * len(_WRN_GROUPS)
    x = build.conv(0, "stem", widths[0])
    before = build.choose(widths[0], _WRN_STEM)  # the teacher's channels that x has
    for g, of in enumerate(_WRN_GROUPS):
        block, stride, (thin, wide) = f"groups.{g}.0", 1 if g == 0 else 2, widths[2 * g + 1 :][:2]
        kept = build.choose(wide, of, before)
        # a channel that the group's output has lost is dropped from its shortcut
        place = np.searchsorted(kept, before)
        found = kept[np.minimum(place, wide - 1)] == before
        position = np.where(found, place, -1)
        y = build.relu(build.batch_norm(x, f"{block}.bn1"), f"{block}.relu1")
        y = build.conv(y, f"{block}.conv1", thin, stride)
        y = build.relu(build.batch_norm(y, f"{block}.bn2"), f"{block}.relu2")
        if stride > 1:
            x = build.pool(x, f"{block}.pool", "avg_pool")
        # as compress names it
        x = build.channel_pad(x, f"pyedge_channel_pad{f'_{g}' if g else ''}", position, wide)
        x = build.add(x, build.conv(y, f"{block}.conv2", wide), f"{block}.add")
        student.taps.append(x)
        student.kept.append(kept)
        student.last_convs.append(f"{block}.conv2")
        before = kept
    x = build.relu(build.batch_norm(x, "bn"), "relu")
    build.head(x, student.classifier, classes, pool=True)


def _vgg(
    student: BenchStudent, build: _RandomLayers, widths: tuple[int, ...], classes: int
) -> None:
    student.teacher_channels, student.candidates = _VGG_GROUPS, _VGG_BLOCKS
    x, place = 0, 0  # compress keeps the first conv of each of vgg16's groups, and its number
    for depth, of, width in zip(_VGG_BLOCKS, _VGG_GROUPS, widths, strict=True):
        name = f"features.{place}"
        x = build.conv(x, name, width, bias=True)
        x = build.relu(x, f"features.{place + 1}")
        student.taps.append(x)
        student.kept.append(build.choose(width, of))
        student.last_convs.append(name)
        place += 2 * depth
        x = build.pool(x, f"features.{place}", "max_pool")
        place += 1
    build.head(x, student.classifier, classes, pool=False)
