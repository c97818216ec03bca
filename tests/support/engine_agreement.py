"""An engine's answers for a graph, compared with torch's in float64 on every path of this CPU.

With one thread and with three: the same bits. For tests that draw graphs with Hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st

from pyedge import kernels
from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import make_images, make_lesson
from tests.support.engine_oracle import TorchGraph, gradient_errors, relative

# A sum of some thousand float32 products errs by 1e-6 of its terms' norm; Winograd's transforms
# multiply by up to 8 and back, which costs a digit.
TOLERANCE = 2e-5
# An activation this near to a ReLU's bend or to another maximum may fall to the other side.
KINK = 1e-5
# Batch norm's statistics cancel much of a gradient: a bias before them has none at all.
SHARE = 0.1

CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33])
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
SEEDS = st.integers(0, 1 << 16)
AFTER = st.sampled_from(["none", "relu", "relu6"])


def examples(count: int) -> Callable[[Any], Any]:
    return settings(max_examples=count, deadline=None, derandomize=True)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


def begin(c: int, size: Sequence[int], seed: int, c_in: int = 3) -> GraphMaker:
    """An input, and a convolution that learns and makes a map [c, *size]."""
    net = GraphMaker((c_in, *size), seed)
    net.conv(c, (1, 1), name="front")
    return net


def activation(net: GraphMaker, op: str) -> None:
    if op != "none":
        net.add(op)


def check(
    net: GraphMaker,
    trainable: Sequence[str] = ("front", "head"),
    n: int = 2,
    batch_norm: str = "frozen",
    tolerance: float = TOLERANCE,
    micro_batch: int = 0,
) -> None:
    """Compare logits, losses and gradients on every path with torch's."""
    images, lesson = make_images(net, n), make_lesson(net, n)
    learned, batch = net.learned(trainable), batch_norm == "batch"
    frozen = TorchGraph(net)
    logits = frozen(images)[0].detach().numpy()
    graph = TorchGraph(net, net.learned(net.with_weights()), batch)
    solution = graph.solve(images, lesson)
    if min(frozen.kink, solution.kink) < KINK:
        assume(False)
    for isa in kernels.available_isas():
        before: list[np.ndarray] = []
        for threads in (1, 3):
            with path(isa, threads):
                engine = net.engine(trainable)
                engine.set_batch_norm(batch_norm)
                engine.set_micro_batch(micro_batch)
                predicted = engine.predict(images)
                found = engine.step(images, np.arange(n), **lesson.keywords)
                came = [predicted, *(engine.gradient(name) for name in learned)]
            for one, other in zip(before, came, strict=False):
                np.testing.assert_array_equal(one, other, err_msg=f"{isa}, {threads} threads")
            before = came
        assert relative(predicted, logits) < tolerance, isa
        errors = gradient_errors(engine, solution, learned, SHARE)
        assert max(errors.values(), default=0) < tolerance, (isa, errors)
        losses = {name: found[name] for name in solution.losses}
        assert losses == pytest.approx(solution.losses, rel=1e-5, abs=1e-6), isa
        assert found["pairs"] == solution.pairs, isa
        if batch:
            engine.update(0.0)
            check_statistics(net, engine, graph)


@contextmanager
def path(isa: str, threads: int) -> Iterator[None]:
    """Let the kernels use an instruction set and some threads for a while."""
    before = kernels.isa(), kernels.num_threads()
    kernels.set_isa(isa)
    kernels.set_num_threads(threads)
    try:
        yield
    finally:
        kernels.set_isa(before[0])
        kernels.set_num_threads(before[1])


def check_statistics(net: GraphMaker, engine: kernels.Engine, graph: TorchGraph) -> None:
    """The running statistics after a batch are torch's."""
    for node in net.nodes:
        for key in ("mean", "variance") if node["op"] == "batch_norm" else ():
            wanted = graph.arrays[node[key]].numpy()
            np.testing.assert_allclose(engine.array(node[key]), wanted, rtol=1e-5, atol=1e-6)
