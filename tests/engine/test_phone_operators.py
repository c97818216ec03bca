"""Operators of phones' networks, forward and backward, with numpy alone: on any device.

The oracle is a loop over the nodes in float64; gradients are differences of its loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pyedge import kernels
from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import Lesson, make_images

Floats = NDArray[np.float64]
N, C = 3, 5
# what the engine promises of logits and gradients, relative to their norm
TOLERANCE = 1e-4
STEP = 1e-6  # the difference's own error is of its square, and 1e-16 / STEP of rounding
LEAKY, ELU = {"slope": 0.2}, {"alpha": 0.75, "scale": 1.25, "input_scale": 1.5}


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x: Floats) -> Floats:
    return np.clip(x / 6 + 0.5, 0, 1)


CURVES: dict[str, Callable[[Floats], Floats]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "hard_swish": lambda x: x * hard_sigmoid(x),
    "gelu": lambda x: x * np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "elu": lambda x: 1.25 * np.where(x > 0, x, 0.75 * np.expm1(1.5 * x)),
}


def convolved(node: Mapping, arrays: Mapping[str, Floats], x: Floats) -> Floats:
    weight, (down, across) = arrays[node["weight"]], node["padding"]
    windows = sliding_window_view(
        np.pad(x, ((0, 0), (0, 0), (down, down), (across, across))), weight.shape[2:], (2, 3)
    )[:, :, :: node["stride"][0], :: node["stride"][1]]
    if node["groups"] == 1:
        y = np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)
    else:  # depthwise
        y = np.einsum("nchwij,cij->nchw", windows, weight[:, 0], optimize=True)
    return y if node["bias"] is None else y + arrays[node["bias"]][:, None, None]


def answered(net: GraphMaker, arrays: Mapping[str, Floats], images: Floats) -> Floats:
    """The logits."""
    found: list[Floats] = []
    for node in net.nodes:
        x, *others = [found[i] for i in node["inputs"]] or [images]
        op = node["op"]
        if op == "conv2d":
            x = convolved(node, arrays, x)
        elif op == "prelu":
            x = np.where(x > 0, x, arrays[node["weight"]][:, None, None] * x)
        elif op in CURVES:
            x = CURVES[op](x)
        elif op == "multiply":
            x = x * others[0]
        elif op == "global_avg_pool":
            x = x.mean((2, 3), keepdims=True)
        elif op == "flatten":
            x = x.reshape(len(x), -1)
        elif op == "linear":
            x = x @ arrays[node["weight"]].T + arrays[node["bias"]]
        else:
            assert op == "input", op
        found.append(x)
    return found[-1]


def loss(logits: Floats, labels: NDArray[np.int64]) -> float:
    log_sum = np.log(np.exp(logits).sum(1))
    return float((log_sum - logits[np.arange(len(labels)), labels]).mean())


def check(net: GraphMaker) -> None:
    """Compare logits, loss and all gradients on every instruction set."""
    images, labels = make_images(net, N), np.arange(N) % net.classes
    exact = {name: array.astype(np.float64) for name, array in net.arrays.items()}
    layers = net.with_weights()
    wanted = {name: slopes(net, exact, name, images, labels) for name in net.learned(layers)}
    whole = math.sqrt(sum(float(np.square(each).sum()) for each in wanted.values()))
    logits = answered(net, exact, images)
    for isa in kernels.available_isas():
        before = kernels.isa()
        kernels.set_isa(isa)
        try:
            engine = net.engine(layers)
            assert off(engine.predict(images), logits) < TOLERANCE, isa
            told = engine.step(images, np.arange(N), **Lesson(labels).keywords)
            assert told["loss"] == pytest.approx(loss(logits, labels), rel=1e-5), isa
            for name, gradient in wanted.items():
                # one that is small beside the others is mostly cancellation
                assert off(engine.gradient(name), gradient, 1e-3 * whole) < TOLERANCE, (isa, name)
        finally:
            kernels.set_isa(before)


def off(came: NDArray, wanted: NDArray, least: float = 0.0) -> float:
    return float(np.linalg.norm(came - wanted)) / max(float(np.linalg.norm(wanted)), least)


def slopes(
    net: GraphMaker, exact: dict[str, Floats], name: str, images: Floats, labels: NDArray
) -> Floats:
    """The loss's slope along every number of an array."""
    found = np.empty_like(exact[name])
    for place in np.ndindex(found.shape):
        ends = []
        for step in (STEP, -STEP):
            moved = exact[name].copy()
            moved[place] += step
            ends.append(loss(answered(net, {**exact, name: moved}, images), labels))
        found[place] = (ends[0] - ends[1]) / (2 * STEP)
    return found


def curved(net: GraphMaker, curve: str) -> None:
    fields = {"leaky_relu": LEAKY, "elu": ELU}.get(curve, {})
    if curve == "prelu":
        fields = {"weight": net.values(C, mean=0.25, scale=0.1)}
    net.add(curve, **fields)


def begun(size: tuple[int, int] = (6, 5)) -> GraphMaker:
    net = GraphMaker((2, *size), seed=3)
    net.conv(C, (1, 1), bias=True, name="expand")
    return net


def ended(net: GraphMaker) -> GraphMaker:
    net.global_avg_pool()
    net.linear(3)
    return net


@pytest.mark.parametrize("curve", [*CURVES, "prelu"])
def test_activation_before_and_behind_a_depthwise_convolution(curve: str) -> None:
    net = begun()
    curved(net, curve)
    net.conv(C, (3, 3), padding=(1, 1), groups=C, bias=True, name="depth")
    curved(net, curve)
    check(ended(net))


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("size", [(9, 7), (4, 8)])
def test_depthwise_convolution_of_any_window(
    stride: tuple[int, int], side: int, size: tuple[int, int]
) -> None:
    net = begun(size)
    net.add("relu6")
    net.conv(C, (side, side), stride, (side // 2,) * 2, groups=C, name="depth")
    net.add("hard_swish")
    check(ended(net))


def test_gate_of_squeeze_and_excitation() -> None:
    net = begun()
    net.add("silu")
    source = net.x
    net.global_avg_pool()
    net.conv(3, (1, 1), bias=True, name="squeeze")
    net.add("mish")
    net.conv(C, (1, 1), bias=True, name="excite")
    net.add("sigmoid")
    net.add("multiply", [source, net.x])
    check(ended(net))
