"""JAX, compiled by XLA for the CPU, in the layout that is fastest there (channels last)."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from bench.peers.workers.task import Arrays, Node, Task


def inference(task: Task, variant: str) -> Callable[[], np.ndarray]:
    """Return images -> logits."""
    jax = _jax(task)
    arrays, x = _prepared(task)
    compiled = jax.jit(lambda values, x: _forward(task.nodes, values, x))
    return lambda: np.asarray(compiled(arrays, x))


def step(task: Task, variant: str) -> Callable[[], float]:
    """Return one step, which gives the loss before it."""
    jax = _jax(task)
    arrays, x = _prepared(task)
    frozen = {name: value for name, value in arrays.items() if name not in task.learned}
    learned = {name: arrays[name] for name in task.learned}
    labels = jax.numpy.asarray(task.labels)

    def loss_of(learned: Arrays, frozen: Arrays, x: np.ndarray) -> np.ndarray:
        chances = jax.nn.log_softmax(_forward(task.nodes, {**frozen, **learned}, x))
        return -jax.numpy.take_along_axis(chances, labels[:, None], 1).mean()

    @jax.jit
    def update(learned, frozen, x):  # type: ignore[no-untyped-def]
        loss, gradients = jax.value_and_grad(loss_of)(learned, frozen, x)
        return loss, {name: value - task.lr * gradients[name] for name, value in learned.items()}

    def call() -> float:
        nonlocal learned
        loss, learned = update(learned, frozen, x)
        return float(jax.block_until_ready(loss))

    return call


def _jax(task: Task):  # type: ignore[no-untyped-def]
    # XLA takes as many threads as the process may use
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.threads])
    import jax

    return jax


def _prepared(task: Task):  # type: ignore[no-untyped-def]
    import jax.numpy as jnp

    arrays = {}
    for name, value in task.arrays.items():
        # [n, c, kh, kw] -> [kh, kw, c, n]
        arrays[name] = jnp.asarray(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value)
    return arrays, jnp.asarray(task.images.transpose(0, 2, 3, 1))


def _forward(nodes: list[Node], arrays: Arrays, x):  # type: ignore[no-untyped-def]
    import jax
    import jax.numpy as jnp

    values = []
    for node in nodes:
        op, sources = node["op"], [values[i] for i in node["inputs"]]
        if op == "input":
            y = sources[0] if sources else x
        elif op == "conv2d":
            y = jax.lax.conv_general_dilated(
                sources[0], arrays[node["weight"]], node["stride"],
                [(p, p) for p in node["padding"]], rhs_dilation=node["dilation"],
                dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=node["groups"],
            )  # fmt: skip
            y = y + arrays[node["bias"]] if node["bias"] else y
        elif op == "affine":
            y = sources[0] * arrays[node["scale"]].reshape(-1)
            y = y + arrays[node["shift"]].reshape(-1)
        elif op == "relu":
            y = jax.nn.relu(sources[0])
        elif op == "relu6":
            y = jax.nn.relu6(sources[0])
        elif op == "add":
            y = sources[0] + sources[1]
        elif op == "channel_pad":
            # one channel of zeros behind the others, for whatever has come from nowhere
            padded = jnp.pad(sources[0], [(0, 0), (0, 0), (0, 0), (0, 1)])
            y = padded[..., arrays[node["index"]]]
        elif op in ("max_pool", "avg_pool"):
            window = (1, *node["kernel"], 1), (1, *node["stride"], 1)
            if op == "max_pool":
                y = jax.lax.reduce_window(sources[0], -jnp.inf, jax.lax.max, *window, "VALID")
            else:
                y = jax.lax.reduce_window(sources[0], 0.0, jax.lax.add, *window, "VALID")
                y = y / (node["kernel"][0] * node["kernel"][1])
        elif op == "global_avg_pool":
            y = sources[0].mean((1, 2), keepdims=True)
        elif op == "flatten":
            y = sources[0].transpose(0, 3, 1, 2).reshape(len(x), -1)
        else:
            assert op == "linear", op
            y = sources[0] @ arrays[node["weight"]].T + arrays[node["bias"]]
        values.append(y)
    return values[-1]
