"""The same bits from the edge engine: with other threads, after other batches, in a new engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyedge import kernels
from pyedge.kernels import Engine
from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import make_images, make_lesson
from tests.support.engine_students import student

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(autouse=True)
def _threads_of_the_kernels() -> Iterator[None]:
    threads = kernels.num_threads()
    yield
    kernels.set_num_threads(threads)


def small() -> GraphMaker:
    net = GraphMaker((3, 9, 8))
    net.conv(20, (3, 3), padding=(1, 1), name="conv1")
    net.batch_norm("norm1")
    net.add("relu")
    net.conv(13, (3, 3), (2, 2), (1, 1), bias=True, name="conv2")
    net.batch_norm("norm2")
    net.add("relu")
    net.tap()
    net.global_avg_pool()
    net.linear(5)
    return net


NET = small()
LAYERS = ["conv1", "norm1", "conv2", "head"]


def take_step(engine: Engine, seed: int, n: int = 6) -> dict[str, Any]:
    lesson = make_lesson(NET, n, seed, dtype="float16")
    found = engine.step(make_images(NET, n, seed), np.arange(n), **lesson.keywords)
    engine.update(0.01)
    return found


def arrays_of(engine: Engine) -> Arrays:
    return {name: engine.array(name) for name in engine.array_names}


def same(one: Arrays, other: Arrays) -> bool:
    """The same names, and bits."""
    return one.keys() == other.keys() and all(
        one[name].tobytes() == other[name].tobytes() for name in one
    )


@pytest.mark.parametrize("name", ["resnet4", "vgg11"])
@pytest.mark.parametrize("layers", ["last_conv", "full"])
def test_any_number_of_threads_gives_the_same_bits(name: str, layers: str) -> None:
    graph = student(name)
    n = 5
    ends = []
    for threads in (1, 2, 3):
        kernels.set_num_threads(threads)
        engine = graph.engine(graph.layers(layers), kind="adam")
        engine.set_batch_norm("batch")
        found = []
        for seed in range(2):
            lesson = make_lesson(graph, n, seed, dtype="int8")
            images = make_images(graph, n, seed)
            found.append(engine.step(images, np.arange(n), **lesson.keywords))
            engine.update(1e-3)
        logits = engine.predict(make_images(graph, n, 9))
        ends.append((found, {**arrays_of(engine), "logits": logits}))
    for found, arrays in ends[1:]:
        assert found == ends[0][0]
        assert same(arrays, ends[0][1])


def test_batches_of_other_sizes_leave_no_trace() -> None:
    engine, fresh = NET.engine(LAYERS), NET.engine(LAYERS)
    images = make_images(NET, 11)
    for n in (11, 1, 4):
        engine.predict(images[:n])
        take_step(engine, n, n)
    for name in fresh.array_names:
        fresh.set_array(name, engine.array(name))
    fresh.set_state(engine.state())
    for n in (2, 7):
        np.testing.assert_array_equal(engine.predict(images[:n]), fresh.predict(images[:n]))
        assert take_step(engine, 5, n) == take_step(fresh, 5, n)
    assert same(arrays_of(engine), arrays_of(fresh))


@pytest.mark.parametrize("mode", ["frozen", "batch"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_new_engine_goes_on_to_the_same_bits(kind: str, mode: str) -> None:
    engines = [NET.engine(LAYERS, kind=kind) for _ in range(2)]
    for engine in engines:
        engine.set_batch_norm(mode)
    through, second = engines
    for seed in range(3):
        take_step(through, seed)
    weights, state = arrays_of(through), through.state()
    for seed in range(3, 6):
        take_step(through, seed)
    assert not same(weights, arrays_of(through))  # copies, which learning does not touch
    for name, value in weights.items():
        second.set_array(name, value)
    second.set_state(state)
    assert same(second.state(), state)
    for seed in range(3, 6):
        take_step(second, seed)
    assert same(arrays_of(second), arrays_of(through))
    assert same(second.state(), through.state())


def test_state_names_the_slots_of_what_learns_and_counts_steps() -> None:
    engine = NET.engine(["conv2"], kind="adam")
    take_step(engine, 0)
    take_step(engine, 1)
    state = engine.state()
    slots = {f"{slot}.conv2.{part}" for slot in ("first", "second") for part in ("weight", "bias")}
    assert state.keys() == {"steps", *slots}
    assert state["steps"] == 2
    assert state["first.conv2.weight"].shape == engine.array("conv2.weight").shape
    assert (state["second.conv2.weight"] >= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first.conv2.weight": None}, "'first.conv2.weight': .*none"),
        ({"first.conv2.bias": np.zeros(4, np.float32)}, "'first.conv2.bias': .*13 .*4"),
        ({"first.conv1.weight": np.zeros(540, np.float32)}, "wanted 2 slots.*3"),
        ({"steps": np.array(-1)}, "steps: .*-1"),
        ({"steps": None}, "steps: .*none"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_whole(change: dict[str, Any], message: str) -> None:
    engine = NET.engine(["conv2"])
    take_step(engine, 0)
    before = engine.state()
    state = {name: value + 1 for name, value in before.items()} | change
    with pytest.raises(ValueError, match=message):
        engine.set_state({name: value for name, value in state.items() if value is not None})
    assert same(engine.state(), before)


def test_arrays_are_in_the_layout_of_torch_and_go_in_and_out_unchanged() -> None:
    engine = NET.engine()
    assert set(engine.array_names) == set(NET.arrays)
    for name, value in NET.arrays.items():
        np.testing.assert_array_equal(engine.array(name), value)
        engine.set_array(name, np.flip(value).copy())
        np.testing.assert_array_equal(engine.array(name), np.flip(value))


def test_weights_that_are_set_take_effect() -> None:
    engine, images = NET.engine(), make_images(NET, 2)
    before = engine.predict(images)
    names = ("conv1.weight", "norm1.weight", "norm1.running_mean", "norm2.running_var", "head.bias")
    for name in names:
        value = engine.array(name)
        engine.set_array(name, 1.5 * value)
        assert not np.array_equal(engine.predict(images), before), name
        engine.set_array(name, value)
        np.testing.assert_array_equal(engine.predict(images), before)


def test_the_callers_arrays_are_copied() -> None:
    net = small()
    engine = net.engine(LAYERS)
    images = make_images(NET, 2)
    before = engine.predict(images)
    for array in net.arrays.values():
        array[:] = 0
    np.testing.assert_array_equal(engine.predict(images), before)
    take_step(engine, 0)
    assert all(not array.any() for array in net.arrays.values())
