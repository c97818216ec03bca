"""torch, as well as it can be written: eager, compiled, and compiled under bfloat16 autocast."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from bench.peers.workers.task import Task
from bench.shared.named_students import STUDENTS
from bench.step.torch_best import BestStudent


def inference(task: Task, variant: str) -> Callable[[], np.ndarray]:
    """Return images -> logits."""
    net, images = _net(task, variant)
    net.requires_grad_(False).eval()

    def logits(x: torch.Tensor) -> torch.Tensor:
        with _autocast(variant):
            return net(x)[0]

    if variant != "eager":
        logits = torch.compile(logits, dynamic=False, fullgraph=True)

    def call() -> np.ndarray:
        with torch.inference_mode():
            return logits(images).float().numpy()

    return call


def step(task: Task, variant: str) -> Callable[[], float]:
    """Return one step, which gives the loss before it."""
    net, images = _net(task, variant)
    labels = torch.from_numpy(task.labels)
    optimizer = torch.optim.SGD(net.parameters(), task.lr, fused=True)

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        with _autocast(variant):
            logits = net(x)[0]
        return F.cross_entropy(logits.float(), labels)

    if variant != "eager":
        loss_of = torch.compile(loss_of, dynamic=False, fullgraph=True)

    def call() -> float:
        optimizer.zero_grad()
        loss = loss_of(images)
        loss.backward()
        optimizer.step()
        return loss.item()

    return call


def _autocast(variant: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=variant == "compiled, bf16")


def _net(task: Task, variant: str) -> tuple[BestStudent, torch.Tensor]:
    torch.set_num_threads(task.threads)
    student = STUDENTS[(task.folder / "student").read_text()]()
    trainable = student.last_conv if task.kind == "step" else ()
    layout = torch.channels_last
    net = BestStudent(student, trainable, layout, compiled=variant != "eager")
    return net, torch.from_numpy(task.images).contiguous(memory_format=layout)
