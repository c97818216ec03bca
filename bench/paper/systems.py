"""How a student is trained: the paper's transfer, the systems beside it, and ours.

A system trains a student in place with the world's schedule, and differs in what it minimises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import pyedge
from bench.paper.baselines import quantization
from bench.paper.baselines.attention import AttentionObjective
from pyedge.cloud.compression.student import Student
from pyedge.cloud.graph.taps import TappedTeacher, tap_teacher
from pyedge.cloud.training.history import TrainResult
from pyedge.cloud.training.launch import run
from pyedge.cloud.training.objectives import SoftTargetObjective
from pyedge.cloud.training.train import train
from pyedge.cloud.training.train_options import TrainOptions
from pyedge.data import BatchLoader

TEMPERATURE = 4.0


@dataclass
class Task:
    """What a system gets. teacher: None for a network that learns from labels alone."""

    network: nn.Module
    teacher: nn.Module | None
    loader: BatchLoader
    val: BatchLoader
    options: dict[str, Any]
    lambdas: tuple[float, float, float]
    our_lambdas: tuple[float, float, float]
    compiled: str | None = None

    @property
    def student(self) -> Student:
        """The network, which must be a student."""
        assert isinstance(self.network, Student)
        return self.network

    def tapped(self) -> TappedTeacher:
        """Return the teacher with taps, compiled if the scale compiles."""
        assert self.teacher is not None
        images, _ = next(iter(BatchLoader(self.loader.dataset, 1, prefetch=0)))
        device = next(self.teacher.parameters()).device
        tapped = tap_teacher(self.teacher, images.to(device))
        if self.compiled:
            tapped.net.compile(backend=self.compiled)
        return tapped


def independent(task: Task) -> TrainResult:
    """Labels alone."""
    return train(task.network, task.loader, val=task.val, **task.options)


def transfer_as_written(task: Task) -> TrainResult:
    """The paper's: zeros at the end, the teacher's batch statistics, lambdas 1, 10, 1."""
    return pyedge.transfer(
        task.student, task.tapped(), task.loader, val=task.val, lambdas=task.lambdas,
        padding="end", teacher_batch_norm="batch", **task.options,
    )  # fmt: skip


def transfer(task: Task) -> TrainResult:
    """pyedge's: channels that face each other, and the teacher as it answers."""
    return pyedge.transfer(
        task.student, task.tapped(), task.loader, val=task.val, lambdas=task.our_lambdas,
        **task.options,
    )  # fmt: skip


def transfer_unlabelled(task: Task) -> TrainResult:
    """The paper's for unseen classes (Sec. 4.2): J_1 and J_b."""
    return pyedge.transfer(
        task.student, task.tapped(), task.loader, val=task.val, lambdas=task.lambdas,
        padding="end", labelled=False, **task.options,
    )  # fmt: skip


def transfer_unlabelled_facing(task: Task) -> TrainResult:
    """The same with channels that face each other, and our weights."""
    return pyedge.transfer(
        task.student, task.tapped(), task.loader, val=task.val, lambdas=task.our_lambdas,
        labelled=False, **task.options,
    )  # fmt: skip


def fitnet(task: Task) -> TrainResult:
    """Hints through a regressor, then soft targets and labels (Romero et al. 2014)."""
    return pyedge.fitnet(task.student, task.tapped(), task.loader, val=task.val, **task.options)


def distillation(task: Task) -> TrainResult:
    """Soft targets at a temperature, and labels (Hinton et al. 2015): FitNet without its hints."""
    return pyedge.fitnet(
        task.student, task.tapped(), task.loader, val=task.val, hint_share=0.0,
        temperature=TEMPERATURE, **task.options,
    )  # fmt: skip


def attention(task: Task) -> TrainResult:
    """Attention transfer (Zagoruyko and Komodakis 2016)."""
    return run(
        "attention", task.student, AttentionObjective(task.tapped()), task.loader,
        TrainOptions(**task.options), val=task.val,
    )  # fmt: skip


@dataclass(frozen=True)
class QuantizedDistillation:
    """Distillation with weights that are quantized at each step (Polino et al. 2018)."""

    bits: int

    def __call__(self, task: Task) -> TrainResult:
        quantization.begin_quantized(task.student, self.bits)
        objective = SoftTargetObjective(
            task.tapped(), labels=True, temperature=TEMPERATURE, soft_weight=1.0,
            teacher_batch_norm="frozen",
        )  # fmt: skip
        options = TrainOptions(**task.options)
        return run(
            "quantized distillation", task.student, objective, task.loader, options, val=task.val
        )


@dataclass(frozen=True)
class System:
    """teach: trains in place. finish: what ends the training.

    longer: how many times as long as the world's schedule.
    """

    name: str
    teach: Callable[[Task], TrainResult]
    finish: Callable[[nn.Module], None] = field(default=lambda network: None)
    longer: float = 1

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the world's options, longer or shorter if the system is."""
        return {
            name: max(1, round(self.longer * value)) if name in ("steps", "epochs") else value
            for name, value in options.items()
        }


INDEPENDENT = System("independent", independent)
ALONE_LONGER = System("independent, four times as long", independent, longer=4)
AS_WRITTEN = System("transfer as written", transfer_as_written)
AS_WRITTEN_SHORTER = System("transfer as written, a quarter", transfer_as_written, longer=0.25)
TRANSFER = System("transfer", transfer)
SHORTER = System("transfer, a quarter", transfer, longer=0.25)
LONGER = System("transfer, longer", transfer, longer=2)
FITNET = System("FitNet", fitnet)
DISTILLATION = System("distillation", distillation)
ATTENTION = System("attention transfer", attention)
UNLABELLED = System("unlabelled transfer as written", transfer_unlabelled)
UNLABELLED_FACING = System("unlabelled transfer", transfer_unlabelled_facing)


def quantized_distillation(bits: int) -> System:
    """Return the system of so many bits."""
    return System(
        f"quantized distillation, {bits} bits",
        QuantizedDistillation(bits),
        finish=quantization.end_quantized,
    )


@contextmanager
def compiled(network: nn.Module, backend: str | None) -> Iterator[None]:
    """Compile a network in place for the time of its training; weights keep their names.

    Afterwards it is plain again: a compiled one cannot be traced, as plan and export do.
    """
    inside = network.net if isinstance(network, Student) else network
    if backend is not None:
        inside.compile(backend=backend)
    try:
        yield
    finally:
        inside._compiled_call_impl = None  # torch has no public way back


def on_gpu() -> bool:
    """Whether a training goes to a GPU (`TrainOptions.accelerator` "auto")."""
    return torch.cuda.is_available()
