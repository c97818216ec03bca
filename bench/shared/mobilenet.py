"""MobileNetV2 (Sandler et al. 2018, Table 2) as a list of nodes, built with numpy alone.

All of it is the student: the seven groups of its table, each tapped behind its last block, with as
many candidates of the teacher as it has blocks. On the device the last projection of each group
learns, and the classifier.
"""

from __future__ import annotations

from bench.shared.layer_maker import LayerMaker
from bench.shared.students import BenchStudent

# expansion, channels, blocks, stride of the first
_GROUPS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
_STEM, _HEAD = 32, 1280


def make_mobilenet(name: str, size: int, classes: int = 10, seed: int = 0) -> BenchStudent:
    """Build it for images of `size` pixels a side."""
    make = LayerMaker(name, size, "relu6", seed)
    x = make.conv_norm(0, "features.0", _STEM, 3, stride=2)
    block = 1
    for expansion, channels, blocks, stride in _GROUPS:
        for i in range(blocks):
            name = f"features.{block}"
            x = _block(make, x, name, expansion, channels, stride if i == 0 else 1)
            block += 1
        make.tap(x, f"{name}.project.conv", blocks)
    x = make.conv_norm(x, f"features.{block}", _HEAD, 1)
    return make.finished(x, classes)


def _block(make: LayerMaker, x: int, name: str, expansion: int, c: int, stride: int) -> int:
    c_in = make.channels(x)
    wide, y = c_in * expansion, x
    if expansion > 1:
        y = make.conv_norm(y, f"{name}.expand", wide, 1)
    y = make.conv_norm(y, f"{name}.depthwise", wide, 3, stride, groups=wide)
    y = make.conv_norm(y, f"{name}.project", c, 1, relu=False)
    return make.builder.add("add", f"{name}.add", [x, y]) if (stride, c_in) == (1, c) else y
