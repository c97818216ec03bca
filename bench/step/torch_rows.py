"""The torch contestants: literal eager, the best by hand, the same compiled; and inference."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.shared.contest import CLIP, LOSSES, LR, OPTIMIZER, Answer
from bench.shared.inputs import StepInputs
from bench.shared.students import BenchStudent
from bench.step.torch_best import BestStudent
from bench.step.torch_losses import Losses, closed_losses, literal_losses
from bench.step.torch_student import TorchStudent
from pyedge.runs.run_options import DEFAULT_LAMBDAS

LAYOUTS = {"channels_last": torch.channels_last, "nchw": torch.contiguous_format}


Batch = tuple[Tensor, Callable[[Tensor, list[Tensor]], Losses]]  # images, and losses of the taps


class TorchStepper:
    """A network, its optimizer, and one batch that lies ready in memory."""

    def __init__(
        self, net: TorchStudent, batch: Batch, compiled: bool = False, **optimizer: Any
    ) -> None:
        self.net, self.compiled = net, compiled
        self.parameters = list(net.parameters())
        self.optimizer = torch.optim.SGD(self.parameters, LR, **OPTIMIZER, **optimizer)
        self.use(batch)

    def use(self, batch: Batch) -> None:
        """Go on with another batch."""
        net = self.net
        self.images, losses = batch

        def total(x: Tensor) -> tuple[Tensor, ...]:
            j_1, j_b, j_3 = losses(*net(x))
            a, b, c = DEFAULT_LAMBDAS
            return a * j_1 + b * j_b + c * j_3, j_1, j_b, j_3

        self.total = torch.compile(total, dynamic=False, fullgraph=True) if self.compiled else total

    def answer(self) -> Answer:
        self.optimizer.zero_grad()
        values = self.total(self.images)
        values[0].backward()
        gradients = {name: g.numpy().copy() for name, g in self.net.gradients().items()}
        losses = {name: v.item() for name, v in zip(LOSSES, values, strict=True)}
        return Answer(losses, gradients)

    def step(self) -> float:
        self.optimizer.zero_grad()
        loss = self.total(self.images)[0]
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        return loss.item()


def literal(student: BenchStudent, inputs: StepInputs, trainable: Collection[str]) -> TorchStepper:
    """The paper's formulas in eager mode: every map padded to the teacher's channels."""
    return TorchStepper(TorchStudent(student, trainable), literal_batch(inputs))


def literal_batch(inputs: StepInputs) -> Batch:
    """The batch with the teacher's maps at full width."""
    maps = [[torch.from_numpy(m) for m in inputs.full_maps(g)] for g in range(len(inputs.kept))]
    kept = [torch.from_numpy(positions) for positions in inputs.kept]
    logits, labels = torch.from_numpy(inputs.logits), torch.from_numpy(inputs.labels)
    images = torch.from_numpy(inputs.standardised())
    return images, lambda y, taps: literal_losses(y, taps, logits, maps, kept, labels)


def best(
    student: BenchStudent,
    inputs: StepInputs,
    trainable: Collection[str],
    layout: str = "channels_last",
    compiled: bool = False,
) -> TorchStepper:
    """The closed form on maps cut beforehand, the graph of BestStudent, a fused optimizer."""
    net = BestStudent(student, trainable, LAYOUTS[layout], compiled)
    return TorchStepper(net, best_batch(inputs, layout, compiled), compiled, fused=True)


def best_batch(
    inputs: StepInputs,
    layout: str = "channels_last",
    compiled: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """The batch with the teacher's maps cut to the student's channels, in full precision."""
    maps = [
        torch.stack([torch.from_numpy(m) for m in candidates]).to(dtype)
        for candidates in inputs.maps
    ]
    norms = [torch.from_numpy(squares.sum(1)).sqrt().to(dtype) for squares in inputs.norms]
    logits, labels = torch.from_numpy(inputs.logits).to(dtype), torch.from_numpy(inputs.labels)
    images = torch.from_numpy(inputs.standardised()).to(dtype)
    return (
        images.contiguous(memory_format=LAYOUTS[layout]),
        lambda y, taps: closed_losses(y, taps, logits, maps, norms, labels, compiled),
    )


def reference(student: BenchStudent, inputs: StepInputs, trainable: Collection[str]) -> Answer:
    """Losses and gradients in float64: autograd through the nodes one by one."""
    net = TorchStudent(student, trainable).double()
    return TorchStepper(net, best_batch(inputs, "nchw", True, torch.float64)).answer()


def reference_logits(student: BenchStudent, inputs: StepInputs) -> np.ndarray:
    """The logits in float64."""
    with torch.inference_mode():
        net = TorchStudent(student, ()).double()
        return net(torch.from_numpy(inputs.standardised()).double())[0].numpy()


def inference_ways(
    student: BenchStudent, inputs: StepInputs, compiled: bool
) -> dict[str, Callable[[], np.ndarray]]:
    """Torch's ways from images to logits; the compiled ones are compiled at their first call."""
    ways = {"eager": _predict(TorchStudent(student, ()), inputs, "nchw", None)}
    for layout in LAYOUTS:
        net = BestStudent(student, (), LAYOUTS[layout])
        ways[f"folded {layout}"] = _predict(net, inputs, layout, None)
    if compiled:
        for name, options in (("compiled", {}), ("compiled, frozen", {"freezing": True})):
            net = BestStudent(student, (), compiled=True)
            ways[name] = _predict(net, inputs, "channels_last", options)
    return ways


def _predict(
    net: nn.Module, inputs: StepInputs, layout: str, options: dict[str, Any] | None
) -> Callable[[], np.ndarray]:
    images = torch.from_numpy(inputs.standardised()).contiguous(memory_format=LAYOUTS[layout])
    net.requires_grad_(False).eval()

    def logits(x: Tensor) -> Tensor:
        return net(x)[0]

    if options is not None:
        logits = torch.compile(logits, dynamic=False, fullgraph=True, options=options)

    def predict() -> np.ndarray:
        with torch.inference_mode():
            return logits(images).numpy()

    return predict
