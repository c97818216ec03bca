"""What the edge engine refuses, and that nothing has changed then."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyedge.kernels import Engine, NotFiniteError
from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import make_lesson
from tests.support.engine_step import IMAGES, LAYERS, NET, N, known


def with_value(array: NDArray[Any], value: Any) -> NDArray[Any]:
    array = array.copy()
    array.flat[3] = value
    return array


def blocks(*changed: NDArray[Any]) -> list[list[tuple[NDArray[Any], None]]]:
    return [[(maps, None) for maps in changed]]


MAPS = make_lesson(NET, N).maps[0][0][0]  # type: ignore[index]
NORMS = make_lesson(NET, N).norms[0]  # type: ignore[index]
LOGITS = make_lesson(NET, N).logits
assert LOGITS is not None

WRONG_VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "image nan": ({"images": with_value(IMAGES, np.nan)}, "images: .*image 0"),
    "image inf": ({"images": with_value(IMAGES, -np.inf)}, "images: .*finite"),
    "image huge": ({"images": np.full_like(IMAGES, 3e38)}, "is not finite; nothing was changed"),
    "logits nan": ({"logits": with_value(LOGITS, np.nan)}, "the loss is not finite"),
    "logits inf": ({"logits": with_value(LOGITS, np.inf)}, "is not finite"),
    "maps nan": ({"maps": blocks(with_value(MAPS, np.nan), MAPS)}, "the loss is not finite"),
    "second maps nan": ({"maps": blocks(MAPS, with_value(MAPS, np.nan))}, "the loss is not finite"),
    "second maps inf": ({"maps": blocks(MAPS, with_value(MAPS, np.inf))}, "the loss is not finite"),
    "norms nan": ({"norms": [with_value(NORMS, np.nan)]}, "norms: .*finite"),
    "norms inf": ({"norms": [with_value(NORMS, np.inf)]}, "norms: .*finite"),
    "norms negative": ({"norms": [with_value(NORMS, -1.0)]}, "norms: .*-1"),
    "label too large": ({"labels": np.array([0, 3, 1])}, "labels: .*got 3"),
    "label negative": ({"labels": np.array([0, -1, 1])}, "labels: .*got -1"),
    "no images": ({"rows": np.zeros(0, np.int64)}, "rows: .*at least one image"),
    "row too large": ({"rows": np.array([0, 5, 1])}, "rows: .*got 5"),
    "row negative": ({"rows": np.array([0, -1, 1])}, "rows: .*got -1"),
    "map row too large": ({"map_rows": np.array([0, 1, N])}, "map_rows: .*rows of the maps"),
    "map row negative": ({"map_rows": np.array([0, -1, 1])}, "map_rows: .*rows of the maps"),
    "lambda nan": ({"lambdas": (1.0, np.nan, 1.0)}, "lambdas: .*nan"),
    "lambda negative": ({"lambdas": (-1.0, 1.0, 1.0)}, "lambdas: .*-1"),
    "nothing": (
        {"labels": None, "logits": None, "maps": None}, "wanted labels, logits or maps",
    ),
}  # fmt: skip
WRONG_SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "images of other size": ({"images": IMAGES[:, :, :3].copy()}, r"images: wanted \["),
    "images of three axes": ({"images": IMAGES[0]}, r"images: wanted \["),
    "images of other order": ({"channels_last": True}, r"images: wanted \["),
    "rows of two axes": ({"rows": np.zeros((N, 1), np.int64)}, "rows: .*one axis"),
    "labels too few": ({"labels": np.zeros(N - 1, np.int64)}, "labels: wanted"),
    "logits too many": ({"logits": np.zeros((N, 4), np.float32)}, "logits: wanted"),
    "shift": ({"shift": np.zeros((N, 3), np.int32)}, "shift: wanted"),
    "flip": ({"flip": np.zeros(N + 1, bool)}, "flip: wanted"),
    "maps of other channels": ({"maps": blocks(MAPS[..., :3].copy(), MAPS)}, "maps: wanted"),
    "maps of other order": ({"maps": blocks(MAPS.transpose(0, 3, 1, 2), MAPS)}, "maps: wanted"),
    "maps of other rows": ({"maps": blocks(MAPS, MAPS[:2].copy())}, "maps: .*rows.*got 2"),
    "groups too many": ({"maps": blocks(MAPS, MAPS) * 2}, "maps and norms: .*1 groups, got 2"),
    "a group without maps": ({"maps": [[]]}, "maps: .*each group, got none"),
    "norms of other blocks": ({"norms": [NORMS[:1].copy()]}, "norms: wanted"),
    "no norms": ({"norms": None}, "maps: .*map_rows and norms"),
    "scales": ({"maps": [[(MAPS, np.ones(2, np.float32)), (MAPS, None)]]}, "scales: wanted"),
}
WRONG_TYPES: dict[str, dict[str, Any]] = {
    "images float64": {"images": IMAGES.astype(np.float64)},
    "images int8": {"images": IMAGES.astype(np.int8)},
    "images strided": {"images": IMAGES[:, :, :, ::-1]},
    "rows int32": {"rows": np.arange(N, dtype=np.int32)},
    "labels int32": {"labels": np.zeros(N, np.int32)},
    "logits float64": {"logits": LOGITS.astype(np.float64)},
    "shift int64": {"shift": np.zeros((N, 2), np.int64)},
    "flip uint8": {"flip": np.zeros(N, np.uint8)},
    "maps float64": {"maps": blocks(MAPS.astype(np.float64), MAPS)},
    "maps uint8": {"maps": blocks(MAPS.astype(np.uint8), MAPS)},
    "maps of the other byte order": {"maps": blocks(MAPS.astype(">f2"), MAPS)},
}


def check_unchanged(
    arguments: dict[str, Any], error: type[Exception], message: str | None = None
) -> None:
    """Such a step fails, and the engine then goes on as one that never saw it."""
    engines = [NET.engine(LAYERS) for _ in range(2)]
    for engine in engines:
        engine.set_batch_norm("batch")
        engine.step(**known())
        engine.update(0.1)
    with pytest.raises(error, match=message):
        engines[0].step(**arguments)
    with pytest.raises(RuntimeError, match="call step first"):
        engines[0].update(0.1)
    found = [engine.step(**known()) for engine in engines]
    assert found[0] == found[1]
    for engine in engines:
        engine.update(0.1)
    for name in engines[0].array_names:
        np.testing.assert_array_equal(engines[0].array(name), engines[1].array(name), name)


@pytest.mark.parametrize("name", WRONG_VALUES | WRONG_SHAPES)
def test_a_step_on_wrong_values_or_shapes_changes_nothing(name: str) -> None:
    changes, message = (WRONG_VALUES | WRONG_SHAPES)[name]
    check_unchanged(known(**changes), ValueError, message)


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_a_step_on_wrong_types_changes_nothing(name: str) -> None:
    check_unchanged(known(**WRONG_TYPES[name]), TypeError)


def test_weights_out_of_bounds_are_found_by_the_next_step() -> None:
    engine = NET.engine(LAYERS)
    engine.set_array("head.weight", np.full_like(NET.arrays["head.weight"], 3e38))
    with pytest.raises(NotFiniteError, match="not finite; nothing was changed") as found:
        engine.step(**known())
    assert found.value.quantity in ("the loss", "a gradient")
    assert isinstance(found.value, ValueError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.set_trainable(["conv", "nobody"]), "no node is called 'nobody'"),
        (lambda e: e.set_trainable(["relu"]), "node 'relu' has no weights"),
        (lambda e: e.set_batch_norm("running"), 'mode: .*"frozen" or "batch"'),
        (lambda e: e.set_optimizer(kind="lbfgs"), "kind: .*lbfgs"),
        (lambda e: e.set_optimizer(momentum=1.0), "momentum: .*got 1"),
        (lambda e: e.set_optimizer(beta2=-0.1), "beta2: .*-0.1"),
        (lambda e: e.set_optimizer(weight_decay=np.nan), "weight_decay: .*nan"),
        (lambda e: e.set_optimizer(clip=-1.0), "clip: .*-1"),
        (lambda e: e.set_optimizer(kind="adam", epsilon=0.0), "epsilon: .*above 0"),
        (lambda e: e.memory(-1, True), "batch: .*from 0"),
        (lambda e: e.array("nobody"), "no array is called 'nobody'"),
        (lambda e: e.gradient("nobody"), "nobody"),
        (lambda e: e.gradient("norm.running_mean"), "is not trainable"),
        (lambda e: e.set_array("nobody", np.zeros(1, np.float32)), "no array is called 'nobody'"),
        (lambda e: e.set_array("conv.bias", np.zeros(3, np.float32)), r"values: .*\[4\].*\[3\]"),
        (lambda e: e.set_array("conv.bias", np.full(4, np.inf, np.float32)), "values: .*finite"),
        (lambda e: e.predict(IMAGES, np.array([9])), "rows: .*got 9"),
        (lambda e: e.predict(with_value(IMAGES, np.nan)), "images: .*finite"),
    ],
)
def test_calls_that_make_no_sense_change_nothing(
    call: Callable[[Engine], Any], message: str
) -> None:
    engines = [NET.engine(LAYERS) for _ in range(2)]
    for engine in engines:
        engine.step(**known())
        engine.update(0.1)
    with pytest.raises(ValueError, match=message):
        call(engines[0])
    assert engines[0].step(**known()) == engines[1].step(**known())
    for engine in engines:
        engine.update(0.1)
    for name in engines[0].array_names:
        np.testing.assert_array_equal(engines[0].array(name), engines[1].array(name), name)


def node(net: GraphMaker, name: str) -> dict[str, Any]:
    return next(node for node in net.nodes if node["name"].startswith(name))


GRAPHS: dict[str, tuple[Callable[[GraphMaker], Any], str]] = {
    "no nodes": (lambda g: g.nodes.clear(), "nodes: .*input first"),
    "no input": (lambda g: g.nodes.pop(0), "nodes: .*input first"),
    "two inputs": (lambda g: g.nodes[1].update(op="input", inputs=[]), "not the first node"),
    "unknown operator": (lambda g: g.nodes[1].update(op="tanh"), "no operator is called 'tanh'"),
    "same name": (lambda g: g.nodes[2].update(name="conv"), "has the name of another node"),
    "reads itself": (lambda g: g.nodes[2].update(inputs=[2]), "reads a node that is not before it"),
    "reads nobody": (lambda g: g.nodes[2].update(inputs=[-1]), "not before it"),
    "two inputs to one": (lambda g: g.nodes[2].update(inputs=[1, 0]), "wrong number of inputs"),
    "weight missing": (lambda g: g.arrays.pop("conv.weight"), "wants a weight of four axes"),
    "bias missing": (lambda g: g.arrays.pop("conv.bias"), "'conv.bias', which is not there"),
    "weight of two readers": (
        lambda g: node(g, "norm").update(weight="conv.bias"), "is read elsewhere already",
    ),
    "weight float64": (
        lambda g: g.arrays.update({"head.weight": g.arrays["head.weight"].astype(float)}),
        "wants a weight of two axes",
    ),
    "bias too long": (
        lambda g: g.arrays.update({"conv.bias": np.zeros(5, np.float32)}), "of shape \\[4\\]",
    ),
    "channels differ": (
        lambda g: g.arrays.update({"conv.weight": np.zeros((4, 3, 3, 3), np.float32)}),
        "wants the array 'conv.weight' of shape",
    ),
    "groups": (lambda g: g.nodes[1].update(groups=3), "groups that do not divide"),
    "no groups": (lambda g: g.nodes[1].update(groups=0), "groups that do not divide"),
    "stride zero": (lambda g: g.nodes[1].update(stride=[0, 1]), "bad stride"),
    "padding negative": (lambda g: g.nodes[1].update(padding=[-1, 0]), "bad padding"),
    "dilation huge": (lambda g: g.nodes[1].update(dilation=[1 << 20, 1]), "bad dilation"),
    "window too large": (lambda g: g.nodes[1].update(dilation=[9, 9]), "larger than its image"),
    "variance negative": (
        lambda g: g.arrays["norm.running_var"].__setitem__(0, -1), "negative variance",
    ),
    "eps nan": (lambda g: node(g, "norm").update(eps=np.nan), "bad eps"),
    "position twice": (
        lambda g: node(g, "channel_pad").update(position="twice"), "position twice",
    ),
    "position too few": (
        lambda g: node(g, "channel_pad").update(position="few"), "one position for each channel",
    ),
    "position too large": (
        lambda g: node(g, "channel_pad").update(channels=3), "position out of range",
    ),
    "pool's padding": (lambda g: node(g, "max_pool").update(padding=[2, 0]), "more than half"),
    "pool's dilation": (
        lambda g: node(g, "max_pool").update(dilation=[2, 1]), "pools with a dilation",
    ),
    "linear on a map": (lambda g: node(g, "head").update(inputs=[5]), "not flat"),
    "output is a map": (lambda g: g.nodes.pop(), "output: .*logits"),
    "tap is no map": (lambda g: g.taps.append(len(g.nodes) - 1), "taps: .*map"),
    "tap is nobody": (lambda g: g.taps.append(99), "taps: .*map"),
    "input shape": (lambda g: g.shapes.__setitem__(0, (2, 0, 4)), "input_shape: .*got 0"),
    "input shape of two": (lambda g: g.shapes.__setitem__(0, (2, 4)), r"input_shape: .*\[c, h"),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_does_not_fit_is_refused_with_its_place(name: str) -> None:
    change, message = GRAPHS[name]
    net = copy.deepcopy(NET)
    net.arrays |= {"twice": np.array([0, 1, 1, 2], np.int32), "few": np.array([0], np.int32)}
    change(net)
    with pytest.raises(ValueError, match=message):
        net.engine()
