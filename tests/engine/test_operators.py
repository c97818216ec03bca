"""Every operator of the edge engine, forward and backward, against torch in float64.

Each graph begins with a 1x1 convolution that learns, so that the operator's input gradient shows
in its weights, and ends in a linear layer, whose outputs show all of the operator's output.
"""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.engine_agreement import (
    AFTER,
    CHANNELS,
    SEEDS,
    SIZES,
    activation,
    begin,
    check,
    examples,
    pairs,
)
from tests.support.engine_graphs import GraphMaker, slide

# of a group: about the vectors' widths
WIDTHS = st.sampled_from([1, 3, 4, 5, 8, 9, 16, 17])


@examples(150)
@given(
    c=st.tuples(CHANNELS, CHANNELS),
    size=SIZES,
    kernel=pairs(1, 7),
    stride=pairs(1, 3),
    padding=pairs(0, 2),
    dilation=pairs(1, 2),
    bias=st.booleans(),
    n=st.integers(1, 3),
    seed=SEEDS,
)
def test_conv2d(c, size, kernel, stride, padding, dilation, bias, n, seed):
    assume(min(slide(size, kernel, stride, padding, dilation)) > 0)
    net = begin(c[0], size, seed)
    net.conv(c[1], kernel, stride, padding, dilation, bias=bias, name="conv")
    net.linear(7)
    check(net, ("front", "conv", "head"), n)


@examples(60)
@given(
    c=st.tuples(st.integers(9, 40), st.integers(9, 40)),
    size=st.tuples(st.integers(3, 13), st.integers(3, 13)),
    padding=pairs(0, 2),
    seed=SEEDS,
)
def test_conv2d_of_three_by_three_on_wide_maps(c, size, padding, seed):
    net = begin(c[0], size, seed)
    net.add("relu")
    net.conv(c[1], (3, 3), (1, 1), padding, name="conv")
    net.linear(7)
    check(net, ("front", "conv", "head"))


@examples(100)
@given(
    groups=st.integers(2, 6),
    inside=WIDTHS,
    outside=WIDTHS,
    size=SIZES,
    kernel=pairs(1, 5),
    stride=pairs(1, 2),
    padding=pairs(0, 2),
    dilation=pairs(1, 2),
    bias=st.booleans(),
    before=AFTER,
    behind=st.sampled_from(["linear", "norm", "sum"]),
    learns=st.booleans(),
    n=st.integers(1, 4),
    seed=SEEDS,
)
def test_conv2d_in_groups(
    groups, inside, outside, size, kernel, stride, padding, dilation, bias, before, behind, learns,
    n, seed,
):  # fmt: skip
    assume(min(slide(size, kernel, stride, padding, dilation)) > 0)
    net = begin(groups * inside, size, seed)
    net.batch_norm()
    activation(net, before)
    source = net.x
    c = groups * outside
    net.conv(c, kernel, stride, padding, dilation, groups=groups, bias=bias, name="conv")
    if behind == "norm":
        net.batch_norm()
    elif behind == "sum" and net.shapes[-1] == net.shapes[source]:
        net.add("add", [net.x, source])
    net.linear(5)
    check(net, net.with_weights() if learns else ("front", "head"), n, micro_batch=n // 2)


@examples(40)
@given(
    groups=st.integers(2, 9),
    width=WIDTHS,
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    side=st.sampled_from([1, 2, 7, 12]),
    pad=st.booleans(),
    seed=SEEDS,
)
def test_conv2d_in_groups_as_resnexts_and_regnets_have_them(
    groups, width, kernel, stride, side, pad, seed
):
    assume(pad or kernel <= side)
    net = begin(groups * width, (side, side), seed)
    net.add("relu")
    padding = (kernel // 2, kernel // 2) if pad else (0, 0)
    net.conv(
        groups * width, (kernel, kernel), (stride, stride), padding, groups=groups, name="conv"
    )
    net.add("relu")
    net.conv(7, (1, 1), name="behind")
    net.linear(5)
    check(net, ("front", "conv", "behind", "head"), 3)


@examples(60)
@given(
    c=st.integers(2, 20),
    size=SIZES,
    kernel=pairs(1, 5),
    stride=pairs(1, 3),
    padding=pairs(0, 3),
    dilation=pairs(1, 2),
    bias=st.booleans(),
    before=AFTER,
    behind=st.sampled_from(["linear", "norm", "sum"]),
    learns=st.booleans(),
    mode=st.sampled_from(["frozen", "batch"]),
    n=st.integers(1, 4),
    seed=SEEDS,
)
def test_conv2d_depthwise(
    c, size, kernel, stride, padding, dilation, bias, before, behind, learns, mode, n, seed
):
    assume(min(slide(size, kernel, stride, padding, dilation)) > 0)
    net = begin(c, size, seed)
    net.batch_norm()
    activation(net, before)
    source = net.x
    net.conv(c, kernel, stride, padding, dilation, groups=c, bias=bias, name="conv")
    if behind == "norm":
        net.batch_norm()
    elif behind == "sum" and net.shapes[-1] == net.shapes[source]:
        net.add("add", [net.x, source])
    net.linear(5)
    # a bias before a norm of the batch has a gradient of nothing but rounding
    mode = "frozen" if n == 1 or behind == "norm" else mode
    check(net, net.with_weights() if learns else ("front", "head"), n, mode, micro_batch=n // 2)


@examples(3)
@given(seed=SEEDS)
def test_conv2d_depthwise_of_a_large_map_in_bands(seed):
    net = begin(40, (70, 90), seed)
    net.conv(40, (5, 3), (2, 1), (2, 1), groups=40, bias=True, name="conv")
    net.global_avg_pool()
    net.linear(3)
    check(net, ("front", "conv", "head"), 3)


@examples(20)
@given(
    c=st.tuples(CHANNELS, CHANNELS),
    length=st.integers(1, 40),
    upright=st.booleans(),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    seed=SEEDS,
)
def test_conv2d_on_images_of_one_line(c, length, upright, kernel, stride, seed):
    def turned(along: int, across: int) -> tuple[int, int]:
        return (along, across) if upright else (across, along)

    net = begin(c[0], turned(length, 1), seed)
    net.conv(
        c[1], turned(kernel, 1), turned(stride, 1), turned(kernel // 2, 0), bias=True, name="conv"
    )
    net.linear(5)
    check(net, ("front", "conv", "head"))


@examples(40)
@given(c=st.integers(1, 4), size=SIZES, kernel=pairs(1, 3), stride=pairs(1, 2), seed=SEEDS)
def test_conv2d_on_the_images_themselves(c, size, kernel, stride, seed):
    assume(min(slide(size, kernel, stride, (0, 1), (1, 1))) > 0)
    net = GraphMaker((c, *size), seed)
    net.conv(5, kernel, stride, (0, 1), name="front")
    net.linear(5)
    check(net)


BEHIND = st.sampled_from(["conv", "pool", "linear", "tap"])


def reader(net: GraphMaker, kind: str) -> None:
    """Something that reads the map so far."""
    if kind == "conv":
        net.conv(6, (3, 3), padding=(1, 1))
    elif kind == "pool":
        net.global_avg_pool()
    elif kind == "tap":
        net.tap()
        net.conv(4, (1, 1))


@examples(120)
@given(
    c=CHANNELS,
    size=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    learns=st.booleans(),
    mode=st.sampled_from(["frozen", "batch"]),
    after=AFTER,
    behind=BEHIND,
    seed=SEEDS,
)
def test_batch_norm(c, size, learns, mode, after, behind, seed):
    net = begin(c, size, seed)
    net.batch_norm("norm")
    activation(net, after)
    reader(net, behind)
    net.linear(5)
    check(net, ("front", "norm", "head") if learns else ("front", "head"), 3, mode)


@examples(40)
@given(c=CHANNELS, learns=st.booleans(), mode=st.sampled_from(["frozen", "batch"]), seed=SEEDS)
def test_batch_norm_of_the_images_and_of_a_sum_of_norms(c, learns, mode, seed):
    net = GraphMaker((c, 4, 5), seed)
    first, second = net.batch_norm("one"), net.batch_norm("two", source=0)
    net.add("relu6", [first])
    net.add("add", [net.x, second])
    net.batch_norm("three")
    net.linear(5)
    check(net, ("one", "three", "head") if learns else ("two",), 3, mode)


@examples(80)
@given(
    c=CHANNELS,
    size=SIZES,
    learns=st.booleans(),
    chain=st.lists(st.sampled_from(["affine", "relu", "relu6", "batch_norm"]), max_size=4),
    behind=BEHIND,
    seed=SEEDS,
)
def test_affine_relu_and_relu6_in_any_order(c, size, learns, chain, behind, seed):
    net = begin(c, size, seed)
    net.affine("affine")
    for op in chain:
        if op in ("affine", "batch_norm"):
            getattr(net, op)()
        else:
            net.add(op)
    reader(net, behind)
    net.linear(5)
    check(net, net.with_weights() if learns else ("front", "head"))


@examples(50)
@given(
    c=CHANNELS,
    size=SIZES,
    slope=st.sampled_from([0.01, 0.3, 0.0, 1.0, -0.5]),
    before=st.sampled_from(["nothing", "batch_norm", "affine", "relu6"]),
    after=AFTER,
    behind=BEHIND,
    n=st.integers(1, 5),
    mode=st.sampled_from(["frozen", "batch"]),
    seed=SEEDS,
)
def test_leaky_relu(c, size, slope, before, after, behind, n, mode, seed):
    net = begin(c, size, seed)
    if before in ("batch_norm", "affine"):
        getattr(net, before)()
    elif before == "relu6":
        net.add("relu6")
    net.add("leaky_relu", slope=slope)
    activation(net, after)
    reader(net, behind)
    net.linear(5)
    check(net, net.with_weights(), n, "frozen" if n == 1 else mode, micro_batch=n // 2)


def test_leaky_relu_of_a_vector_and_of_one_that_is_read_twice():
    net = begin(6, (3, 2), 0)
    net.add("flatten")
    first = net.add("leaky_relu", slope=0.1)
    net.add("leaky_relu", slope=-2.0)
    net.add("add", [net.x, first])
    net.linear(4)
    check(net, net.with_weights(), 3)


@examples(100)
@given(
    c=CHANNELS,
    size=SIZES,
    sides=st.tuples(
        st.sampled_from(["conv", "front", "norm", "pad"]),
        st.sampled_from(["conv", "front", "norm", "pad"]),
    ),
    clamps=st.tuples(AFTER, AFTER),
    after=AFTER,
    learns=st.booleans(),
    seed=SEEDS,
)
def test_add_of_views_on_either_side(c, size, sides, clamps, after, learns, seed):
    net = begin(c, size, seed)
    front, ends = net.x, []
    for side, clamp in zip(sides, clamps, strict=True):
        if side == "conv":
            net.conv(c, (3, 3), padding=(1, 1), source=front)
        elif side == "norm":
            net.batch_norm(source=front)
        elif side == "pad":
            net.channel_pad(np.roll(np.arange(c), 1), c, source=front)
        if side == "front" and clamp != "none":
            net.add(clamp, [front])
        elif side != "front":
            activation(net, clamp)
        ends.append(front if side == "front" and clamp == "none" else net.x)
    net.add("add", ends)
    net.tap()
    activation(net, after)
    net.linear(5)
    check(net, net.with_weights() if learns else ("front", "head"))


@examples(100)
@given(
    c=CHANNELS,
    size=SIZES,
    more=st.integers(0, 40),
    rising=st.booleans(),
    after=AFTER,
    data=st.data(),
    seed=SEEDS,
)
def test_channel_pad_with_dropped_channels(c, size, more, rising, after, data, seed):
    net = begin(c, size, seed)
    activation(net, after)
    channels = c + more
    position = net.random.permutation(channels)[:c]
    if rising:
        position.sort()
    position[data.draw(st.lists(st.integers(0, c - 1), max_size=c, unique=True))] = -1
    net.channel_pad(position, channels)
    net.add("relu")
    net.linear(5)
    check(net)


@examples(120)
@given(
    op=st.sampled_from(["avg_pool", "max_pool"]),
    c=CHANNELS,
    size=SIZES,
    kernel=pairs(1, 4),
    stride=pairs(1, 3),
    shift=pairs(0, 2),
    before=AFTER,
    norm=st.booleans(),
    seed=SEEDS,
)
def test_pools_with_padding(op, c, size, kernel, stride, shift, before, norm, seed):
    padding = [min(p, k // 2) for p, k in zip(shift, kernel, strict=True)]
    assume(min(slide(size, kernel, stride, padding, (1, 1))) > 0)
    net = begin(c, size, seed)
    if norm:
        net.batch_norm()
    activation(net, before)
    net.pool(op, kernel, stride, padding)
    net.linear(5)
    check(net)


@examples(50)
@given(
    c=CHANNELS,
    size=SIZES,
    pooled=st.booleans(),
    hidden=st.one_of(st.none(), CHANNELS),
    bias=st.booleans(),
    before=AFTER,
    n=st.integers(1, 20),
    seed=SEEDS,
)
def test_global_pool_flatten_and_linear(c, size, pooled, hidden, bias, before, n, seed):
    net = begin(c, size, seed)
    activation(net, before)
    if pooled:
        net.global_avg_pool()
    if hidden is not None:
        net.linear(hidden, "hidden", bias)
        net.add("relu")
    net.linear(5, bias=bias)
    check(net, net.with_weights(), n)


@examples(40)
@given(
    c=CHANNELS,
    size=SIZES,
    outputs=st.integers(1, 20),
    seed=SEEDS,
    kept=st.integers(1, 20),
    scaled=st.booleans(),
    n=st.integers(1, 20),
)
def test_scales_shifts_and_another_order_behind_the_classifier(
    c, size, outputs, seed, kept, scaled, n
):
    net = begin(c, size, seed)
    net.add("relu")
    net.global_avg_pool()
    net.linear(outputs)
    classes = max(kept, outputs)
    order = net.random.permutation(classes)[:outputs]
    net.channel_pad(np.where(net.random.random(outputs) < 0.2, -1, order), classes)
    if scaled:
        net.affine()
    check(net, ["head"], n)


def test_depthwise_result_larger_than_any_cache_has_the_same_bits():
    """Such a map is written past the caches; in micro-batches it is not so large."""
    net = GraphMaker((16, 96, 95), 0)
    net.conv(16, (3, 3), (1, 1), (1, 1), groups=16, name="conv")
    net.global_avg_pool()
    net.linear(3)
    images = np.random.default_rng(0).integers(0, 256, (60, 16, 96, 95), dtype=np.uint8)
    engine = net.engine()
    engine.set_micro_batch(len(images))
    whole = engine.predict(images)
    assert engine.predict(images[:1]).any()
    engine.set_micro_batch(8)
    np.testing.assert_array_equal(engine.predict(images), whole)
