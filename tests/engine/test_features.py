"""Engine.features: what the classifier reads, against a graph that ends before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyedge import kernels
from pyedge.kernels import Engine
from tests.support.engine_graphs import Graph, GraphMaker
from tests.support.engine_lessons import make_images, make_lesson


@pytest.fixture(params=kernels.available_isas(), autouse=True)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.isa()
    kernels.set_isa(request.param)
    yield request.param
    kernels.set_isa(before)


def pooled() -> GraphMaker:
    """A vector as it lies in memory, of channels that are no whole vectors."""
    net = GraphMaker((2, 9, 8))
    net.conv(17, (3, 3), padding=(1, 1), name="conv")
    net.batch_norm("norm")
    net.add("relu")
    net.tap()
    net.global_avg_pool()
    net.linear(5)
    return net


def behind_a_norm(op: str) -> GraphMaker:
    """A vector that exists through a batch norm and a clamp alone."""
    net = GraphMaker((2, 9, 8))
    net.conv(21, (3, 3), stride=(2, 2), name="conv")
    net.tap()
    net.global_avg_pool()
    net.batch_norm("norm")
    net.add(op)
    net.linear(5)
    return net


def flattened(op: str | None = None) -> GraphMaker:
    """A map of several pixels, whose numbers lie in another order than the classifier's."""
    net = GraphMaker((2, 9, 8))
    net.conv(6, (3, 3), padding=(1, 1), name="conv")
    net.batch_norm("norm")
    if op is None:
        net.pool("max_pool", (2, 3), (3, 2), (0, 1))
    else:
        net.add(op)
    net.tap()
    net.linear(5)
    return net


def hidden() -> GraphMaker:
    """Two linear layers, of which the second is the classifier."""
    net = GraphMaker((2, 5, 4))
    net.conv(6, (3, 3), name="conv")
    net.tap()
    net.linear(11, "first")
    net.add("relu")
    net.linear(5)
    return net


def with_tail() -> GraphMaker:
    """Maps behind the classifier that need the memory of its features."""
    net = pooled()
    net.affine()
    net.channel_pad([3, 0, -1, 1, 70], 90)
    net.affine()
    return net


def of_the_image() -> GraphMaker:
    net = GraphMaker((3, 5, 4))
    net.linear(5)
    return net


NETS = {
    "pooled": pooled(),
    "behind a norm and relu": behind_a_norm("relu"),
    "behind a norm and relu6": behind_a_norm("relu6"),
    "flattened": flattened(),
    "flattened behind relu": flattened("relu"),
    "flattened behind relu6": flattened("relu6"),
    "hidden": hidden(),
    "tail": with_tail(),
    "of the image": of_the_image(),
}


def before(net: Graph, name: str, arrays: Mapping[str, NDArray[Any]]) -> Engine:
    """Make an engine whose logits are what the linear node reads: behind it, the identity."""
    index = next(i for i, node in enumerate(net.nodes) if node["name"] == name)
    inside = net.arrays[net.nodes[index]["weight"]].shape[1]
    identity = {"op": "linear", "name": name, "inputs": net.nodes[index]["inputs"]}
    nodes = [*net.nodes[:index], {**identity, "weight": "identity", "bias": None}]
    eye = {"identity": np.eye(inside, dtype=np.float32)}
    return Engine(nodes, {**arrays, **eye}, list(net.shapes[0]), index, [])


def engine_of(net: Graph) -> Engine:
    learn = [node["name"] for node in net.nodes if node["op"] in ("conv2d", "linear")]
    engine = net.engine(learn)
    engine.set_preprocessing("image")
    return engine


def pixels(net: Graph, n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(n).integers(0, 256, (n, *net.shapes[0]), dtype=np.uint8)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_features_are_what_the_classifier_reads_and_logits_those_of_predict(
    name: str, kind: str
) -> None:
    net = NETS[name]
    engine, short = engine_of(net), before(net, "head", net.arrays)
    short.set_preprocessing("image")
    images = pixels(net, 7) if kind == "uint8" else make_images(net, 7)
    for threads in (1, 2, 3):
        engine.set_threads(threads)
        features, logits = engine.features(images)
        assert (features.dtype, logits.dtype) == (np.float32, np.float32)
        np.testing.assert_array_equal(features, short.predict(images))
        assert logits.tobytes() == engine.predict(images).tobytes()


@pytest.mark.parametrize("name", NETS)
def test_features_have_the_same_bits_in_any_batch(name: str) -> None:
    net = NETS[name]
    engine, images = engine_of(net), make_images(net, 11)
    features, logits = engine.features(images)
    for n in (1, 2, 5, 10):
        parts = [engine.features(images[i : i + n]) for i in range(0, 11, n)]
        assert np.concatenate([part[0] for part in parts]).tobytes() == features.tobytes()
        assert np.concatenate([part[1] for part in parts]).tobytes() == logits.tobytes()
    for n in (1, 3, 11):
        engine.set_micro_batch(n)
        assert same(engine.features(images), (features, logits))


def same(a: Sequence[NDArray[np.float32]], b: Sequence[NDArray[np.float32]]) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", ["pooled", "behind a norm and relu", "flattened", "tail"])
def test_features_after_steps_are_those_of_the_new_weights(name: str) -> None:
    net = NETS[name]
    engine, images = engine_of(net), make_images(net, 6)
    old, _ = engine.features(images)
    for seed in range(3):
        engine.step(images, np.arange(6), **make_lesson(net, 6, seed).keywords)
        engine.update(0.05)
    new, logits = engine.features(images)
    assert np.abs(new - old).max() > 1e-4
    arrays = {**net.arrays, **{name: engine.array(name) for name in engine.array_names}}
    np.testing.assert_array_equal(new, before(net, "head", arrays).predict(images))
    assert logits.tobytes() == engine.predict(images).tobytes()


def test_features_do_not_disturb_learning() -> None:
    net = NETS["flattened"]
    engines = [engine_of(net) for _ in range(2)]
    images, lesson = make_images(net, 6), make_lesson(net, 6).keywords
    for _ in range(3):
        engines[0].features(images)
        found = [engine.step(images, np.arange(6), **lesson) for engine in engines]
        assert found[0] == found[1]
        for engine in engines:
            engine.update(0.05)


def test_features_of_rows_and_of_channels_last_images() -> None:
    net = NETS["flattened behind relu"]
    engine, images = engine_of(net), pixels(net, 6)
    whole = engine.features(images)
    rows = np.array([4, 0, 4, 5])
    assert same(engine.features(images, rows), [part[rows] for part in whole])
    turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    assert same(engine.features(turned, channels_last=True), whole)
    assert same(engine.features(turned, rows, True), [part[rows] for part in whole])


def test_features_of_no_images_are_empty() -> None:
    net = NETS["flattened"]
    features, logits = engine_of(net).features(make_images(net, 0))
    assert (features.shape, logits.shape) == ((0, net.arrays["head.weight"].shape[1]), (0, 5))


def test_features_of_a_linear_node_by_name() -> None:
    net = NETS["hidden"]
    engine, images = engine_of(net), make_images(net, 4)
    for name in ("first", "head"):
        features, _ = engine.features(images, node=name)
        np.testing.assert_array_equal(features, before(net, name, net.arrays).predict(images))
    assert same(engine.features(images), engine.features(images, node="head"))


@pytest.mark.parametrize("node", ["conv", "nobody", ""])
def test_features_refuse_a_node_that_is_not_linear(node: str) -> None:
    net = NETS["pooled"]
    with pytest.raises(ValueError, match=f"features: no linear node .*'{node}'"):
        engine_of(net).features(make_images(net, 1), node=node)


def test_features_ask_for_the_node_where_the_output_is_not_of_a_linear_one() -> None:
    net = pooled()
    net.add("relu")
    engine, images = net.engine(), make_images(net, 2)
    with pytest.raises(ValueError, match=r"features: .*output .*not a linear node"):
        engine.features(images)
    assert engine.features(images, node="head")[0].shape == (2, 17)


def test_features_refuse_images_that_predict_refuses() -> None:
    net = NETS["pooled"]
    engine, images = engine_of(net), make_images(net, 3)
    want = engine.features(images)
    with pytest.raises(ValueError, match=r"rows: .*3"):
        engine.features(images, np.array([3]))
    with pytest.raises(ValueError, match=r"images: .*\[3, "):
        engine.features(images[:, :, 1:].copy())
    with pytest.raises(TypeError, match=r"images: .*uint8 or float32"):
        engine.features(images.astype(np.float64))  # type: ignore[arg-type]
    bad = images.copy()
    bad[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"images: .*image 1"):
        engine.features(bad)
    assert same(engine.features(images), want)
