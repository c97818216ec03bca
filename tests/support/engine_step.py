"""A small network, and the arguments of a step that it takes, for tests of what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import make_images, make_lesson

N = 3


def make_net() -> GraphMaker:
    net = GraphMaker((2, 4, 4))
    net.conv(4, (3, 3), padding=(1, 1), bias=True, name="conv")
    net.batch_norm("norm")
    net.add("relu", name="relu")
    net.tap()
    net.channel_pad([3, -1, 0, 1], 5)
    net.pool("max_pool", (2, 2), (2, 2), (0, 0))
    net.linear(3)
    return net


NET = make_net()
LAYERS = ["conv", "norm", "head"]
IMAGES = make_images(NET, 5)


def known(**changes: Any) -> dict[str, Any]:
    """Arguments of a step that are right but for the changes."""
    return {"images": IMAGES, "rows": np.arange(N), **make_lesson(NET, N).keywords, **changes}
