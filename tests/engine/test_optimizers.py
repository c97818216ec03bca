"""The edge engine's optimizers against torch.optim in float64, on networks without bends.

Where a ReLU bends, float32 and float64 may take different sides, and weights part; without, they
stay together to the last digits, so that no term of a formula can be missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pyedge.kernels import Engine
from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import make_images, make_lesson
from tests.support.engine_oracle import TorchGraph

WAYS: dict[str, dict[str, Any]] = {
    "nesterov, decay, clip": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "clip": 0.5},
    "momentum": {"momentum": 0.7, "nesterov": False, "weight_decay": 0.0, "clip": 0.0},
    "plain": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.02, "clip": 100.0},
    "adam": {"kind": "adam", "weight_decay": 0.0, "clip": 0.0},
    "adam, decay, clip, betas": {
        "kind": "adam", "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.1,
        "clip": 0.2,
    },
}  # fmt: skip


def smooth() -> GraphMaker:
    """Convolutions, norms, a sum, pools, a tap, and a linear layer: no ReLU, no maximum."""
    net = GraphMaker((3, 8, 8))
    first = net.conv(5, (3, 3), padding=(1, 1), bias=True, name="stem")
    net.batch_norm("norm")
    net.conv(5, (3, 3), padding=(1, 1), groups=5, name="depthwise")
    net.add("add", [net.x, first])
    net.tap()
    net.pool("avg_pool", (2, 2), (2, 2), (0, 0))
    net.affine("affine")
    net.conv(9, (3, 3), name="last")
    net.batch_norm("norm2")
    net.linear(4)
    return net


NET = smooth()


def optimizer_of(
    weights: list[torch.Tensor], lr: float, way: dict[str, Any]
) -> torch.optim.Optimizer:
    decay = {"lr": lr, "weight_decay": way["weight_decay"]}
    if way.get("kind") == "adam":
        betas = way.get("beta1", 0.9), way.get("beta2", 0.999)
        return torch.optim.Adam(weights, betas=betas, eps=way.get("epsilon", 1e-8), **decay)
    return torch.optim.SGD(weights, momentum=way["momentum"], nesterov=way["nesterov"], **decay)


@pytest.mark.parametrize("mode", ["frozen", "batch"])
@pytest.mark.parametrize("way", WAYS)
def test_weights_and_statistics_after_20_steps_equal_those_of_torch(way: str, mode: str) -> None:
    layers = NET.with_weights() if mode == "frozen" else ["depthwise", "norm", "last", "head"]
    learned = NET.learned(layers)
    torch_net = TorchGraph(NET, learned, mode == "batch")
    weights = [torch_net.arrays[name] for name in learned]
    optimizer = optimizer_of(weights, 0.02, WAYS[way])
    engine = NET.engine(layers, **WAYS[way])
    engine.set_batch_norm(mode)
    batches = [(make_images(NET, 5, seed), make_lesson(NET, 5, seed)) for seed in range(3)]
    for i in range(20):
        images, lesson = batches[i % len(batches)]
        lr = 0.02 * (1 - i / 40)
        optimizer.param_groups[0]["lr"] = lr
        torch_net.solve(images, lesson)
        largest = WAYS[way]["clip"] or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(weights, largest)
        optimizer.step()
        found = engine.step(images, np.arange(5), **lesson.keywords)
        engine.update(lr)
        assert found["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)
    for name in engine.array_names:
        before, wanted = NET.arrays[name], torch_net.arrays[name].detach().numpy()
        moved = np.linalg.norm(wanted - before)
        assert (moved > 0) == (name in learned or (mode == "batch" and "running" in name)), name
        # each of 20 steps rounds in float32, gradients at some 1e-6 of their norm
        room = 1e-4 * moved + 20 * 6e-8 * np.linalg.norm(before)
        assert np.linalg.norm(engine.array(name) - wanted) < room, name


def one_step(engine: Engine, seed: int = 0) -> dict[str, Any]:
    lesson = make_lesson(NET, 3, seed)
    return engine.step(make_images(NET, 3, seed), np.arange(3), **lesson.keywords)


def test_an_update_takes_the_gradients_of_one_step_once() -> None:
    engine = NET.engine(["head"])
    with pytest.raises(RuntimeError, match=r"update: .*no gradients"):
        engine.update(0.1)
    one_step(engine)
    engine.update(0.1)
    with pytest.raises(RuntimeError, match="call step first"):
        engine.update(0.1)
    with pytest.raises(RuntimeError, match="gradient: there are none"):
        engine.gradient("head.weight")


def test_layers_that_do_not_learn_stay_to_the_bit() -> None:
    engine = NET.engine(["last"])
    for seed in range(3):
        one_step(engine, seed)
        engine.update(0.05)
    for name in engine.array_names:
        same = np.array_equal(engine.array(name), NET.arrays[name])
        assert same == (name != "last.weight"), name


def test_with_nothing_to_learn_an_update_changes_nothing() -> None:
    engine = NET.engine()
    assert one_step(engine)["gradient_norm"] == 0
    engine.update(0.1)
    for name in engine.array_names:
        np.testing.assert_array_equal(engine.array(name), NET.arrays[name])


def test_momentum_is_forgotten_with_new_layers() -> None:
    engine = NET.engine(["head"])
    one_step(engine)
    engine.update(0.1)
    assert np.abs(engine.state()["first.head.weight"]).max() > 0
    engine.set_trainable(["head", "last"])
    state = engine.state()
    assert state["steps"] == 0
    assert all(np.abs(state[name]).max() == 0 for name in state if name != "steps")
