"""A MobileNet's block band by band: the same bits as map by map, whatever stands in the block.

A tap makes the engine keep a map whole: a network whose wide maps have taps runs map by map.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyedge import kernels
from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import Lesson, make_images

WIDE = 48
# an image of a wide map has 32,768 numbers or more, or it is in a cache anyway
SMALL, LARGE = (27, 29), (55, 57)
WHOLE = "wide + depth + narrow"


def block(
    size: tuple[int, int],
    *,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 1,
    after: str = "relu6",
    bias: bool = False,
    norm: bool = True,
    gate: bool = False,
    kept: bool = False,
) -> GraphMaker:
    """A stem, a block and a head. gate: the depthwise result is read twice; kept: map by map."""
    net = GraphMaker((3, *size), seed=5)

    def view() -> None:
        if kept:
            net.tap()
        if norm:
            net.batch_norm()
        if after != "none":
            net.add(after)

    net.conv(8, (1, 1), name="stem")
    source = net.x
    net.conv(WIDE, (1, 1), bias=bias, name="wide")
    view()
    net.conv(
        WIDE, (kernel, kernel), (stride, stride), (padding, padding), (dilation, dilation),
        groups=WIDE, bias=bias, name="depth",
    )  # fmt: skip
    view()
    if gate:
        seen = net.x
        net.global_avg_pool()
        net.add("multiply", [seen, net.x])
    net.conv(8, (1, 1), bias=bias, name="narrow")
    if net.shapes[source] == net.shapes[net.x]:
        net.add("add", [net.x, source])
    net.add("relu")
    net.global_avg_pool()
    net.linear(4)
    return net


def answers(net: GraphMaker, images: np.ndarray, trainable: list[str]) -> dict[str, Any]:
    engine = net.engine(trainable)
    found: dict[str, Any] = {"logits": engine.predict(images)}
    rows = np.arange(len(images))
    # labels alone: the taps have no maps to be compared with
    found |= engine.step(images, rows, **Lesson(rows % net.classes).keywords)
    return found | {name: engine.gradient(name) for name in net.learned(trainable)}


def ran(net: GraphMaker, trainable: list[str], learns: bool) -> str:
    """What ran together in a forward pass: steps joined by +, what ran later behind a comma."""
    engine = net.engine(trainable)
    images = make_images(net, 2)
    engine.set_profiling(True)
    if learns:
        engine.step(images, np.arange(2), **Lesson(np.arange(2)).keywords)
    else:
        engine.predict(images)
    return ", ".join(name for name, phase, _ in engine.profile() if phase == "forward")


def same(one: dict[str, Any], other: dict[str, Any], told: object) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=f"{told} {name}")


@pytest.mark.parametrize(
    "how",
    [
        {"size": SMALL},
        {"size": SMALL, "after": "relu", "bias": True},
        {"size": SMALL, "norm": False},
        {"size": SMALL, "norm": False, "after": "none", "bias": True},
        {"size": SMALL, "kernel": 5, "padding": 2},
        {"size": SMALL, "padding": 4, "kernel": 5, "dilation": 2},
        {"size": (33, 33), "padding": 0},
        {"size": LARGE, "stride": 2},
        {"size": LARGE, "stride": 2, "kernel": 5, "padding": 2},
        {"size": LARGE, "stride": 3, "kernel": 1, "padding": 0},
        {"size": (400, 3)},
        {"size": (3, 400)},
    ],
    ids=str,
)
@pytest.mark.parametrize("isa", kernels.available_isas())
def test_same_bits_as_map_by_map(isa: str, how: dict[str, Any]) -> None:
    before, threads_before = kernels.isa(), kernels.num_threads()
    kernels.set_isa(isa)
    try:
        images = make_images(block(**how), 3)
        for trainable in (["head"], ["stem", "head"]):
            for count in (1, 3):
                kernels.set_num_threads(3)
                wanted = answers(block(**how, kept=True), images[:count], trainable)
                for threads in (1, 2, 4):
                    kernels.set_num_threads(threads)
                    found = answers(block(**how), images[:count], trainable)
                    same(found, wanted, (trainable, count, threads))
    finally:
        kernels.set_isa(before)
        kernels.set_num_threads(threads_before)


def test_what_runs_together() -> None:
    for learns in (False, True):
        # nothing before the head learns, or the stem does and two masks wait for it
        for trainable in (["head"], ["stem", "head"]):
            assert WHOLE in ran(block(SMALL), trainable, learns)
        assert "depth + narrow" not in ran(block(SMALL, kept=True), ["head"], learns)
        assert "wide + depth, " in ran(block(SMALL, gate=True), ["head"], learns)
        assert "wide + depth, narrow" in ran(block(LARGE, stride=4), ["head"], learns)
    # what learns wants the values that it has seen
    assert "wide + depth, narrow" in ran(block(SMALL), ["narrow"], True)
    assert "wide, depth + narrow" in ran(block(SMALL), ["depth"], True)
    assert WHOLE in ran(block(SMALL), ["depth"], False)


def test_wide_maps_are_not_in_memory() -> None:
    wide = 4 * 224 * 224 * WIDE * 4  # bytes, of four images
    taken = {}
    for kept in (False, True):
        engine = block((224, 224), kept=kept).engine()
        engine.set_micro_batch(4)
        taken[kept] = engine.memory(4, training=False)
    assert taken[False] < wide
    assert taken[True] > 2 * wide
