"""The engine against torch's stored answers, on any machine and any of its instruction sets."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from pyedge import kernels
from pyedge.kernels import Engine
from tests.support.vector_file import (
    FAMILIES,
    FOLDER,
    STEPS,
    TOLERANCE,
    WAYS,
    Answer,
    Vectors,
    read_vectors,
)

CASES = [(family, way) for family in FAMILIES for way in WAYS]


@cache
def vectors(family: str) -> Vectors:
    return read_vectors(FOLDER / f"{family}.npz")


@pytest.fixture(params=kernels.available_isas(), autouse=True)
def path(request: pytest.FixtureRequest):
    before = kernels.isa()
    kernels.set_isa(request.param)
    yield
    kernels.set_isa(before)


def engine_of(stored: Vectors, way: str) -> Engine:
    how = WAYS[way]
    engine = stored.graph.engine(stored.layers[way], **how.optimizer)
    engine.set_batch_norm(how.batch_norm)
    return engine


def step(engine: Engine, stored: Vectors) -> dict:
    return engine.step(stored.images, np.arange(len(stored.images)), **stored.lesson.keywords)


def off(came: np.ndarray, wanted: np.ndarray, least: float = 0.0) -> float:
    """How far `came` is off, in norms of `wanted`, or of `least` where that is larger."""
    return float(np.linalg.norm(came - wanted)) / max(float(np.linalg.norm(wanted)), least)


def assert_gradients(engine: Engine, wanted: Answer) -> None:
    whole = float(np.sqrt(sum(np.square(g).sum() for g in wanted.gradients.values())))
    for name, gradient in wanted.gradients.items():
        # a gradient that is small beside the others is mostly cancellation
        assert off(engine.gradient(name), gradient, 1e-3 * whole) < TOLERANCE, name


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_the_stored_ones_of_torch(family: str) -> None:
    stored = vectors(family)
    predicted = stored.graph.engine().predict(stored.images)
    assert off(predicted, stored.logits) < TOLERANCE


@pytest.mark.parametrize(("family", "way"), CASES)
def test_losses_and_gradients_equal_the_stored_ones_of_torch(family: str, way: str) -> None:
    stored = vectors(family)
    wanted, engine = stored.answers[way], engine_of(stored, way)
    found = step(engine, stored)
    losses = {name: found[name] for name in wanted.losses}
    assert losses == pytest.approx(wanted.losses, rel=1e-5)
    assert found["pairs"] == wanted.pairs
    assert_gradients(engine, wanted)


@pytest.mark.parametrize(("family", "way"), CASES)
def test_weights_after_ten_steps_equal_the_stored_ones_of_torch(family: str, way: str) -> None:
    stored = vectors(family)
    wanted, engine = stored.answers[way], engine_of(stored, way)
    for _ in range(STEPS):
        found = step(engine, stored)
        engine.update(WAYS[way].lr)
    assert step(engine, stored)["loss"] == pytest.approx(wanted.last_loss, rel=1e-4)
    assert wanted.last_loss < wanted.losses["loss"]
    assert found["loss"] < wanted.losses["loss"]
    for name, before in stored.graph.arrays.items():
        if before.dtype != np.float32:
            continue  # positions of channels, which the engine has taken into its plan
        if name not in wanted.weights:
            np.testing.assert_array_equal(engine.array(name), before, err_msg=name)
            continue
        # The stored weights are rounded at 6e-8 of themselves, as is every step's result.
        moved = float(np.linalg.norm(wanted.weights[name] - before))
        room = 1e-3 * moved + STEPS * 6e-8 * float(np.linalg.norm(before))
        assert np.linalg.norm(engine.array(name) - wanted.weights[name]) <= room, name


@pytest.mark.parametrize("family", FAMILIES)
def test_micro_batches_give_the_stored_gradients_with_any_number_of_threads(family: str) -> None:
    stored = vectors(family)
    wanted = stored.answers["last_conv"]
    before = kernels.num_threads()
    ends = []
    for threads in (1, 2, 3):
        kernels.set_num_threads(threads)
        engine = engine_of(stored, "last_conv")
        engine.set_micro_batch(max(len(stored.images) // 3, 1))
        assert step(engine, stored)["pairs"] == wanted.pairs
        assert_gradients(engine, wanted)
        ends.append([engine.gradient(name) for name in wanted.gradients])
    kernels.set_num_threads(before)
    for end in ends[1:]:
        for one, other in zip(ends[0], end, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("family", "way"), CASES)
def test_any_number_of_threads_gives_the_same_bits(family: str, way: str) -> None:
    stored = vectors(family)
    before = kernels.num_threads()
    ends = []
    for threads in (1, 2, 3):
        kernels.set_num_threads(threads)
        engine = engine_of(stored, way)
        step(engine, stored)
        engine.update(WAYS[way].lr)
        ends.append([engine.array(name) for name in stored.answers[way].weights])
    kernels.set_num_threads(before)
    for end in ends[1:]:
        for one, other in zip(ends[0], end, strict=True):
            np.testing.assert_array_equal(one, other)
