"""Graphs of any form, against torch in float64: many readers, taps, and any set of layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.engine_agreement import AFTER, SEEDS, activation, begin, check, examples
from tests.support.engine_graphs import GraphMaker


@st.composite
def random_graphs(draw: st.DrawFn) -> GraphMaker:
    """Maps of one size that read any of those before, some of them read by nobody."""
    c = draw(st.integers(1, 9))
    net = begin(c, (4, 5), draw(SEEDS), draw(st.integers(1, 3)))
    maps = [net.x]
    kinds = ["conv", "wide", "norm", "affine", "relu", "relu6", "add", "pad"]
    kinds += ["avg_pool", "max_pool"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=9)):
        source = draw(st.sampled_from(maps))
        if kind == "conv":
            net.conv(c, (3, 3), padding=(1, 1), bias=draw(st.booleans()), source=source)
        elif kind == "wide":  # a cheap map that is larger than its input, and back
            net.conv(3 * c, (1, 1), source=source)
            if draw(st.booleans()):
                net.batch_norm()
            activation(net, draw(AFTER))
            net.conv(c, (3, 3), padding=(1, 1))
        elif kind == "norm":
            net.batch_norm(source=source)
        elif kind == "affine":
            net.affine(source=source)
        elif kind == "add":
            net.add("add", [source, draw(st.sampled_from(maps))])
        elif kind == "pad":
            net.channel_pad(np.where(np.arange(c) % 3 == 2, -1, np.arange(c)), c, source)
        elif kind in ("avg_pool", "max_pool"):
            window = {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]}
            net.add(kind, [source], **window)
        else:
            net.add(kind, [source])
        maps.append(net.x)
        if draw(st.integers(0, 4)) == 0:
            net.tap()
    last = net.x
    if draw(st.booleans()):
        net.add("add", [last, draw(st.sampled_from(maps))])
    net.linear(4)
    return net


@examples(400)
@given(net=random_graphs(), mode=st.sampled_from(["frozen", "batch"]), data=st.data())
def test_random_graphs_with_many_readers_taps_and_any_set_of_layers(net, mode, data):
    layers = data.draw(st.lists(st.sampled_from(net.with_weights()), unique=True))
    check(net, layers, 3, mode, 1e-4, micro_batch=data.draw(st.integers(0, 3)))


@pytest.mark.parametrize("flatten", [False, True])
def test_logits_that_are_a_groups_map_too(flatten):
    net = begin(4, (1, 1), 0)
    net.conv(5, (1, 1), bias=True, name="head")
    net.tap()
    if flatten:
        net.add("flatten")
    check(net)
