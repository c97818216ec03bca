"""Activations with a curve, and gates, forward and backward, against torch in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyedge import kernels
from tests.engine.test_operators import BEHIND, reader
from tests.support.engine_agreement import (
    AFTER,
    CHANNELS,
    SEEDS,
    SIZES,
    activation,
    begin,
    check,
    examples,
    path,
)
from tests.support.engine_graphs import GraphMaker

# of one pixel and one channel every direction is the same, and J_b chooses among equals
MAPS = st.tuples(st.integers(2, 8), st.integers(1, 8))
CURVES = ("sigmoid", "hard_sigmoid", "silu", "hard_swish", "gelu", "gelu_tanh", "mish", "elu")
ELU = {"alpha": 0.75, "scale": 1.25, "input_scale": 1.5}


@examples(60)
@given(
    curve=st.sampled_from([*CURVES, "prelu"]),
    c=CHANNELS,
    size=SIZES,
    before=st.sampled_from(["nothing", "batch_norm", "affine", "relu6"]),
    after=AFTER,
    behind=BEHIND,
    n=st.integers(1, 5),
    mode=st.sampled_from(["frozen", "batch"]),
    seed=SEEDS,
)
def test_curve_between_any_neighbours(curve, c, size, before, after, behind, n, mode, seed):
    net = begin(c, size, seed)
    if before in ("batch_norm", "affine"):
        getattr(net, before)()
    elif before == "relu6":
        net.add("relu6")
    curved(net, curve)
    activation(net, after)
    reader(net, behind)
    net.linear(5)
    check(net, net.with_weights(), n, "frozen" if n == 1 else mode, micro_batch=n // 2)


def curved(net: GraphMaker, op: str, source: int | None = None) -> int:
    inputs = None if source is None else [source]
    if op != "prelu":
        return net.add(op, inputs, **(ELU if op == "elu" else {}))
    width = net.shapes[net.x if source is None else source][0]
    return net.add(op, inputs, weight=net.values(width, mean=0.25, scale=0.3))


@pytest.mark.parametrize("curve", [*CURVES, "prelu"])
def test_curve_of_a_vector_and_of_one_that_is_read_twice(curve: str) -> None:
    net = begin(6, (1, 1), 0)
    net.add("flatten")
    first = curved(net, curve)
    curved(net, curve)
    net.add("add", [net.x, first])
    net.linear(4)
    check(net, net.with_weights(), 3)


@pytest.mark.parametrize("curve", CURVES)
def test_curve_far_from_zero_is_finite_and_right(curve: str) -> None:
    values = np.array([-1e4, -200, -90, -20, -3, -1e-3, 0, 1e-3, 3, 20, 90, 200, 1e4], np.float32)
    net = GraphMaker((len(values), 1, 1))
    curved(net, curve)
    net.add("flatten")
    net.linear(len(values))
    head = net.nodes[-1]
    net.arrays[head["weight"]] = np.eye(len(values), dtype=np.float32)
    net.arrays[head["bias"]] = np.zeros(len(values), np.float32)
    wanted = _exact(curve, values.astype(np.float64))
    for isa in kernels.available_isas():
        with path(isa, 1):
            came = net.engine().predict(values.reshape(1, -1, 1, 1))[0]
        np.testing.assert_allclose(came, wanted, rtol=2e-6, atol=1e-6, err_msg=isa)


def _exact(curve: str, x: np.ndarray) -> np.ndarray:
    from math import erfc, exp, expm1, log1p, sqrt, tanh

    def sigmoid(v: float) -> float:
        return 1 / (1 + exp(-v)) if v > -700 else 0.0

    formulas = {
        "sigmoid": sigmoid,
        "hard_sigmoid": lambda v: min(max(v / 6 + 0.5, 0), 1),
        "silu": lambda v: v * sigmoid(v),
        "hard_swish": lambda v: v * min(max(v / 6 + 0.5, 0), 1),
        "gelu": lambda v: v * erfc(-v / sqrt(2)) / 2,
        "gelu_tanh": lambda v: v / 2 * (1 + tanh(sqrt(2 / np.pi) * (v + 0.044715 * v**3))),
        "mish": lambda v: v * tanh(v if v > 700 else log1p(exp(v))),
        "elu": lambda v: 1.25 * (v if v > 0 else 0.75 * expm1(1.5 * v)),
    }
    return np.array([formulas[curve](float(v)) for v in x])


@pytest.mark.parametrize("field", ELU)
def test_elu_of_a_number_out_of_range_is_refused(field: str) -> None:
    net = begin(4, (3, 3), 0)
    for wrong in (-2e3, None, "one"):
        with pytest.raises(ValueError, match=rf"{field}: wanted a number from .*, got"):
            net.add("elu", **{**ELU, field: wrong})
    place = curved(net, "elu")
    net.linear(3)
    net.nodes[place][field] = 0 if field == "input_scale" else 2e3
    with pytest.raises(ValueError, match=field):
        net.engine()


def test_prelu_slopes_are_numbers_that_do_not_learn() -> None:
    net = begin(4, (3, 3), 0)
    curved(net, "prelu")
    net.linear(3)
    with pytest.raises(ValueError, match="prelu"):
        net.engine([net.nodes[2]["name"]])


@examples(60)
@given(
    c=CHANNELS,
    size=MAPS,
    gate=st.sampled_from(["sigmoid", "hard_sigmoid", "relu6", "nothing"]),
    flat=st.booleans(),
    squeeze=st.integers(1, 9),
    around=st.sampled_from(["nothing", "norm", "silu", "relu"]),
    after=AFTER,
    behind=BEHIND,
    n=st.integers(1, 4),
    mode=st.sampled_from(["frozen", "batch"]),
    seed=SEEDS,
)
def test_squeeze_and_excitation(c, size, gate, flat, squeeze, around, after, behind, n, mode, seed):
    net = begin(c, size, seed)
    if around == "norm":
        net.batch_norm()
    elif around != "nothing":
        net.add(around)
    source = net.x
    net.global_avg_pool()
    if flat:
        net.add("flatten")
        net.linear(squeeze, "squeeze")
        net.add("relu")
        net.linear(c, "excite")
    else:
        net.conv(squeeze, (1, 1), bias=True)
        net.add("silu")
        net.conv(c, (1, 1), bias=True)
    if gate != "nothing":
        net.add(gate)
    net.add("multiply", [source, net.x])
    activation(net, after)
    reader(net, behind)
    net.linear(5)
    check(net, net.with_weights(), n, "frozen" if n == 1 else mode, micro_batch=n // 2)


@examples(30)
@given(
    c=CHANNELS,
    size=MAPS,
    sides=st.tuples(
        st.sampled_from(["front", "conv", "norm", "silu"]),
        st.sampled_from(["front", "conv", "norm", "silu"]),
    ),
    clamps=st.tuples(AFTER, AFTER),
    n=st.integers(1, 3),
    seed=SEEDS,
)
def test_multiply_of_two_maps(c, size, sides, clamps, n, seed):
    net = begin(c, size, seed)
    front, ends = net.x, []
    for side, clamp in zip(sides, clamps, strict=True):
        end = front
        if side == "conv":
            end = net.conv(c, (3, 3), padding=(1, 1), source=front)
        elif side == "norm":
            end = net.batch_norm(source=front)
        elif side == "silu":
            end = net.add("silu", [front])
        ends.append(end if clamp == "none" else net.add(clamp, [end]))
    net.add("multiply", ends)
    net.tap()
    net.linear(5)
    check(net, net.with_weights(), n, micro_batch=n // 2)


def test_multiply_of_maps_that_do_not_fit_is_refused() -> None:
    net = begin(4, (3, 3), 0)
    source = net.x
    small = net.pool("avg_pool", (2, 2), (1, 1), (0, 0))
    with pytest.raises(ValueError, match=r"second input: .*\[4, 3, 3\].*\[4, 2, 2\]"):
        net.add("multiply", [source, small])
    net.add("multiply", [source, source])
    net.nodes[-1]["inputs"] = [source, small]
    net.linear(3)
    with pytest.raises(ValueError, match="multiply_3"):
        net.engine()
