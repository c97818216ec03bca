"""Images without maps in a batch that has some: J_b is that of the others alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import make_images, make_lesson
from tests.support.engine_step import LAYERS as PLAIN_LAYERS
from tests.support.engine_step import NET as PLAIN
from tests.support.engine_step import known


def taught() -> GraphMaker:
    """Two groups: a sum, and a normed map after ReLU, which other layers read."""
    net = GraphMaker((3, 6, 5))
    first = net.conv(5, (3, 3), padding=(1, 1), bias=True, name="stem")
    net.conv(5, (3, 3), padding=(1, 1), name="conv1")
    net.add("add", [net.x, first])
    net.tap()
    net.conv(17, (3, 3), padding=(1, 1), name="conv2")
    net.batch_norm("norm")
    net.add("relu")
    net.tap()
    net.linear(4)
    return net


NET = taught()
LAYERS = ["stem", "conv1", "conv2", "norm"]
N = 6
IMAGES = make_images(NET, N, seed=3)
WITH = np.array([True, False, True, True, False, True])


def gradients(
    rows: np.ndarray, lesson: Any, micro: int = 0, **more: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    engine = NET.engine(LAYERS)
    engine.set_micro_batch(micro)
    found = engine.step(IMAGES, rows, **{**lesson.keywords, **more})
    return found, {name: engine.gradient(f"{name}.weight") for name in ("stem", "conv1", "conv2")}


@pytest.mark.parametrize("micro", [0, 1, 4])
@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_maps_of_some_images_are_as_if_the_others_were_not_there(
    dtype: str, by_image: bool, micro: int
) -> None:
    lesson = make_lesson(NET, N, 0, 3, dtype)
    lesson = dataclasses.replace(lesson, labels=None, logits=None, norms_by_image=by_image)
    assert lesson.norms is not None
    assert lesson.map_rows is not None
    rows = np.flatnonzero(WITH)
    part = dataclasses.replace(
        lesson,
        map_rows=lesson.map_rows[rows],
        norms=[np.ascontiguousarray(each[:, rows]) for each in lesson.norms],
    )
    all_found, all_gradients = gradients(np.arange(N), lesson, micro, mapped=WITH)
    found, expected = gradients(rows, part)
    assert all_found["pairs"] == found["pairs"]
    assert all_found["J_b"] == pytest.approx(found["J_b"], rel=1e-9)
    for name, gradient in all_gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-4, atol=1e-6)
        assert np.abs(gradient).max() > 1e-4
    same, gradient = gradients(np.arange(N), lesson, micro, mapped=np.ones(N, bool))
    plain, without = gradients(np.arange(N), lesson, micro)
    assert same == plain
    for name, each in gradient.items():
        np.testing.assert_array_equal(each, without[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mapped": np.ones(2, bool)}, r"mapped: .*\[3\].*\[2\]"),
        ({"mapped": np.zeros(3, bool)}, "mapped: .*at least one"),
        ({"mapped": np.ones(3, bool), "maps": None}, "mapped: .*maps"),
    ],
)
def test_mapped_that_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    engine = PLAIN.engine(PLAIN_LAYERS)
    with pytest.raises(ValueError, match=message):
        engine.step(**known(**changes))
