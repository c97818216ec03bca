"""LiteRT (TensorFlow Lite): a network that litert-torch has converted answers on XNNPACK."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.peers.workers.task import Task, UnableError


def convert(task: Task) -> None:
    """Convert the exported program, where it is there to answer."""
    if task.kind == "step":
        return
    import litert_torch
    import torch

    program = torch.export.load(str(task.file("pt2")))
    network = litert_torch.convert(program.module(), (torch.from_numpy(task.images),))
    network.export(str(task.file("tflite")))


def inference(task: Task, variant: str) -> Callable[[], np.ndarray]:
    """Return images -> logits."""
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(task.file("tflite")), num_threads=task.threads)
    network.allocate_tensors()
    x, y = network.get_input_details()[0]["index"], network.get_output_details()[0]["index"]

    def call() -> np.ndarray:
        network.set_tensor(x, task.images)
        network.invoke()
        return network.get_tensor(y)

    return call


def step(task: Task, variant: str) -> Callable[[], float]:
    """Try to convert the gradient of a convolution: without it nothing of ours can learn."""
    import litert_torch
    import torch

    class Gradient(torch.nn.Module):
        """The gradient of a convolution's weight."""

        def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            def loss(weight: torch.Tensor) -> torch.Tensor:
                return torch.nn.functional.conv2d(x, weight, padding=1).square().mean()

            return torch.func.grad(loss)(weight)

    try:
        litert_torch.convert(Gradient().eval(), (torch.ones(1, 3, 8, 8), torch.ones(4, 3, 3, 3)))
    except Exception as error:
        raise UnableError(
            "does not learn: litert-torch does not convert a convolution's gradient "
            f"({type(error).__name__})"
        ) from error
    raise UnableError("converts gradients in this version, which no row has been written for")
