"""ResNeXt-50 32x4d (Xie et al. 2017) and RegNetX-400MF (Radosavovic et al. 2020), by numpy alone.

Bottlenecks with a grouped 3x3 convolution. Each group of blocks is tapped behind its last, where
the last 1x1 convolution learns, and the classifier. `spread` writes the same network as an engine
without groups has to run it: with full convolutions whose weights are zero between the groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.shared.layer_maker import LayerMaker
from bench.shared.students import BenchStudent


class _Stage(NamedTuple):
    blocks: int
    inside: int  # channels of the grouped convolution
    channels: int
    groups: int
    stride: int


_RESNEXT50 = (
    _Stage(3, 128, 256, 32, 1), _Stage(4, 256, 512, 32, 2), _Stage(6, 512, 1024, 32, 2),
    _Stage(3, 1024, 2048, 32, 2),
)  # fmt: skip
_REGNET_X_400MF = (
    _Stage(1, 32, 32, 2, 2), _Stage(2, 64, 64, 4, 2), _Stage(7, 160, 160, 10, 2),
    _Stage(12, 400, 400, 25, 2),
)  # fmt: skip


def make_resnext50(name: str, size: int, spread: bool = False) -> BenchStudent:
    """Build it for images of `size` pixels a side; a stride takes the place of its max pool."""
    make = LayerMaker(name, size, "relu", seed=0)
    x = make.conv_norm(make.conv_norm(0, "stem", 64, 7, stride=2), "stem2", 64, 3, stride=2)
    return _stages(make, x, _RESNEXT50, spread)


def make_regnet_x_400mf(name: str, size: int, spread: bool = False) -> BenchStudent:
    """Build it for images of `size` pixels a side."""
    make = LayerMaker(name, size, "relu", seed=0)
    return _stages(make, make.conv_norm(0, "stem", 32, 3, stride=2), _REGNET_X_400MF, spread)


def _stages(
    make: LayerMaker, x: int, stages: tuple[_Stage, ...], spread: bool, classes: int = 10
) -> BenchStudent:
    for number, stage in enumerate(stages):
        name = ""
        for i in range(stage.blocks):
            name = f"stage{number}.{i}"
            x = _block(make, x, name, stage, stage.stride if i == 0 else 1)
        make.tap(x, f"{name}.c.conv", stage.blocks)
    student = make.finished(x, classes)
    if spread:
        _spread(student)
    return student


def _block(make: LayerMaker, x: int, name: str, stage: _Stage, stride: int) -> int:
    y = make.conv_norm(x, f"{name}.a", stage.inside, 1)
    y = make.conv_norm(y, f"{name}.b", stage.inside, 3, stride, groups=stage.groups)
    # sums of 16 blocks would else grow a hundredfold
    y = make.conv_norm(y, f"{name}.c", stage.channels, 1, relu=False, gain=0.25)
    if (stride, make.channels(x)) != (1, stage.channels):
        x = make.conv_norm(x, f"{name}.shortcut", stage.channels, 1, stride, relu=False)
    y = make.builder.add("add", f"{name}.add", [x, y])
    return make.builder.add("relu", f"{name}.relu", [y])


def _spread(student: BenchStudent) -> None:
    for node in student.nodes:
        groups = node.get("groups", 1)
        if groups == 1:
            continue
        weight = student.arrays[node["weight"]]
        c_out, inside, h, w = weight.shape
        full = np.zeros((c_out, inside * groups, h, w), np.float32)
        each = c_out // groups
        for group in range(groups):
            rows, columns = slice(group * each, (group + 1) * each), group * inside
            full[rows, columns : columns + inside] = weight[rows]
        student.arrays[node["weight"]] = full
        node["groups"] = 1
