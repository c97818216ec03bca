"""ExecuTorch: inference on XNNPACK; a step by its training extension, on its portable kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.peers.workers.task import Task


def convert(task: Task) -> None:
    """Lower the exported program, with its backward pass for a step."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge, to_edge_transform_and_lower
    from torch.export.experimental import _export_forward_backward

    program = torch.export.load(str(task.file("pt2")))
    if task.kind == "step":
        # no backend of it has gradients
        lowered = to_edge(_export_forward_backward(program))
    else:
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    task.file("pte").write_bytes(lowered.to_executorch().buffer)


def inference(task: Task, variant: str) -> Callable[[], np.ndarray]:
    """Return images -> logits."""
    _use_threads(task.threads)
    import torch
    from executorch.runtime import Runtime

    content = task.file("pte").read_bytes()
    program = Runtime.get().load_program(content)
    method = program.load_method("forward")
    images = torch.from_numpy(task.images)
    kept = content, program

    def call() -> np.ndarray:
        assert kept  # the method holds neither of them
        return method.execute((images,))[0].numpy()

    return call


def step(task: Task, variant: str) -> Callable[[], float]:
    """Return one step, which gives the loss before it."""
    _use_threads(task.threads)
    import torch
    from executorch.extension.training import (
        _load_for_executorch_for_training_from_buffer,
        get_sgd_optimizer,
    )

    content = task.file("pte").read_bytes()
    network = _load_for_executorch_for_training_from_buffer(content)
    images, labels = torch.from_numpy(task.images), torch.from_numpy(task.labels)
    optimizer = None

    def call() -> float:
        nonlocal optimizer
        assert content  # which is read from, and not kept
        loss = network.forward_backward("forward", (images, labels))[0].item()
        # names of parameters are there after the first pass
        if optimizer is None:
            optimizer = get_sgd_optimizer(network.named_parameters(), task.lr, 0, 0, 0, False)
        optimizer.step(network.named_gradients())
        return loss

    return call


def _use_threads(threads: int) -> None:
    from executorch.extension.pybindings import portable_lib

    portable_lib._unsafe_reset_threadpool(threads)
