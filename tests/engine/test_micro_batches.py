"""A batch that runs by a few images at a time: the same results, in less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyedge import kernels
from tests.support.engine_agreement import path
from tests.support.engine_lessons import make_images, make_lesson
from tests.support.engine_oracle import relative
from tests.support.engine_students import StudentGraph, student

N = 7


@pytest.fixture(scope="module", params=["resnet18", "vgg11"])
def graph(request: pytest.FixtureRequest) -> StudentGraph:
    return student(request.param, 32)


def results(
    graph: StudentGraph, micro_batch: int, layers: str = "last_conv", **lesson: Any
) -> dict[str, Any]:
    """Logits, losses and gradients of a batch of 7."""
    engine = graph.engine(graph.layers(layers))
    engine.set_micro_batch(micro_batch)
    images = make_images(graph, N)
    keywords = make_lesson(graph, N).keywords | lesson
    shift = np.arange(2 * N, dtype=np.int32).reshape(N, 2) % 5 - 2
    predicted = engine.predict(images)
    found = engine.step(
        images, np.arange(N)[::-1].copy(), shift=shift, flip=np.arange(N) % 2 == 0, **keywords
    )
    gradients = {name: engine.gradient(name) for name in graph.learned(graph.layers(layers))}
    return found | {"predicted": predicted, "gradients": gradients}


def agree(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert relative(one["predicted"], other["predicted"]) < 1e-6
    for loss in ("loss", "J_1", "J_b", "J_3", "gradient_norm"):
        assert one[loss] == pytest.approx(other[loss], rel=2e-5)
    assert one["pairs"] == other["pairs"]
    for name, gradient in one["gradients"].items():
        assert relative(gradient, other["gradients"][name]) < 5e-5, name


@pytest.mark.parametrize("layers", ["last_conv", "full"])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 6])
def test_results_are_those_of_the_batch_in_one(
    graph: StudentGraph, micro_batch: int, layers: str
) -> None:
    agree(results(graph, micro_batch, layers), results(graph, N, layers))


def test_without_maps_logits_or_labels(graph: StudentGraph) -> None:
    for absent in ({"maps": None, "norms": None}, {"logits": None}, {"labels": None}):
        agree(results(graph, 3, **absent), results(graph, N, **absent))


def test_norms_by_image(graph: StudentGraph) -> None:
    agree(results(graph, 2, norms_by_image=True), results(graph, N, norms_by_image=True))


@pytest.mark.parametrize("isa", kernels.available_isas())
def test_same_bits_from_any_number_of_threads(graph: StudentGraph, isa: str) -> None:
    before: dict[str, Any] | None = None
    for threads in (1, 2, 3):
        with path(isa, threads):
            found = results(graph, 3)
        if before is not None:
            assert found["loss"] == before["loss"]
            for name, gradient in found["gradients"].items():
                np.testing.assert_array_equal(gradient, before["gradients"][name], err_msg=name)
        before = found


def test_memory_falls_with_the_micro_batch() -> None:
    graph = student("resnet4", 32)
    engine = graph.engine(graph.layers("last_conv"))
    needs = {}
    for images in (64, 32, 8):
        engine.set_micro_batch(images)
        needs[images] = engine.memory(64, True), engine.memory(64, False)
    assert needs[8][0] < 0.8 * needs[64][0]
    assert needs[8][1] < 0.5 * needs[32][1] < 0.4 * needs[64][1]
    engine.set_batch_norm("batch")  # wants all images in one
    assert engine.memory(64, True) > needs[64][0]


def test_refuses_a_negative_number(graph: StudentGraph) -> None:
    with pytest.raises(ValueError, match=r"set_micro_batch: images: .*from 0"):
        graph.engine([]).set_micro_batch(-1)


def test_an_image_that_is_not_finite_is_named_by_its_place_in_the_batch(
    graph: StudentGraph,
) -> None:
    engine = graph.engine([])
    engine.set_micro_batch(2)
    images = np.zeros((N, *graph.shapes[0]), np.float32)
    images[5, 0, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"images: .*image 5"):
        engine.predict(images)
