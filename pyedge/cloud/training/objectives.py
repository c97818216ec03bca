"""What a step minimises: an objective turns a network and a batch into a loss and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pyedge.cloud.feed.batch import logits_of
from pyedge.cloud.training.losses import (
    as_logits,
    cross_entropy,
    hint_loss,
    logits_distance,
    soft_target_loss,
    warn_of_underflow,
)
from pyedge.cloud.training.matching import match_groups
from pyedge.cloud.training.trainable import set_layout, teaching_mode


@dataclass
class StepLoss:
    """The loss of one batch, its parts by name (unweighted), and the block chosen in each group."""

    loss: Tensor
    parts: dict[str, Tensor]
    pairs: tuple[int, ...] = ()


class Objective(Protocol):
    """Something to minimise. `labels` tells whether `y` is needed; otherwise it is None.

    `settings` says, as text, what decides the result besides the options, so that a checkpoint of
    another run is recognised.
    """

    labels: bool
    settings: dict[str, str]

    def prepare(self, device: torch.device, layout: torch.memory_format) -> None:
        """Move what the objective holds to the device, before the run."""

    def running(self) -> AbstractContextManager[None]:
        """Return the context in which the run takes place."""

    def step(self, model: nn.Module, x: Tensor, y: Tensor | None, distributed: bool) -> StepLoss:
        """Run the network on a batch and return the loss."""


def _as_pair(value: Any) -> tuple[Tensor, Any]:
    logits, taps = value
    return logits, taps


class LabelObjective:
    """Learn from labels alone: the cross entropy J_3."""

    labels = True

    def __init__(self) -> None:
        self.settings = {"objective": "labels"}
        self._told = False

    def prepare(self, device: torch.device, layout: torch.memory_format) -> None:
        """Do nothing: there is nothing to move."""

    def running(self) -> AbstractContextManager[None]:
        """Return an empty context."""
        return nullcontext()

    def step(self, model: nn.Module, x: Tensor, y: Tensor | None, distributed: bool) -> StepLoss:
        """Return J_3."""
        answers = logits_of(model(x), len(x), "train")
        y = _required(y)
        self._told = self._told or warn_of_underflow(answers, y)
        loss = cross_entropy(as_logits(answers), y, distributed=distributed)
        return StepLoss(loss, {"J_3": loss.detach()})


class _WithTeacher:
    """An objective that asks a tapped teacher: tapped(x) -> (logits, maps of each group's blocks).

    The teacher is not a child of the network that learns, so data-parallel training leaves it
    alone.
    """

    labels = True

    def __init__(self, teacher: nn.Module, teacher_batch_norm: str) -> None:
        if teacher_batch_norm not in ("frozen", "batch"):
            raise ValueError(
                f'teacher_batch_norm: wanted "frozen" or "batch", got {teacher_batch_norm!r}'
            )
        self.teacher = teacher
        self.teacher_batch_norm = teacher_batch_norm

    def prepare(self, device: torch.device, layout: torch.memory_format) -> None:
        """Move the teacher's weights to the device and into the memory layout."""
        self.teacher.to(device=device)
        if layout == torch.channels_last:
            set_layout(self.teacher, layout)

    def running(self) -> AbstractContextManager[None]:
        """Keep the teacher in its mode for the run."""
        return teaching_mode(self.teacher, self.teacher_batch_norm)

    def _ask(self, x: Tensor) -> tuple[Tensor, Sequence[Sequence[Tensor]]]:
        with torch.no_grad():
            return _as_pair(self.teacher(x))


class TransferObjective(_WithTeacher):
    """Selective layer-wise knowledge transfer: l1 J_1 + l2 sum over groups of J_b + l3 J_3."""

    def __init__(
        self,
        teacher: nn.Module,
        kept: Sequence[Tensor | None],
        *,
        labels: bool,
        lambdas: tuple[float, float, float],
        norms: str,
        teacher_batch_norm: str,
    ) -> None:
        super().__init__(teacher, teacher_batch_norm)
        self.kept = list(kept)
        self.lambdas = lambdas
        self.norms = norms
        self.labels = labels and lambdas[2] > 0
        self.settings = {
            "objective": "transfer",
            "labels": repr(self.labels),
            "lambdas": repr(lambdas),
            "norms": norms,
            "teacher_batch_norm": teacher_batch_norm,
        }

    def prepare(self, device: torch.device, layout: torch.memory_format) -> None:
        """Move the teacher and the kept positions to the device."""
        super().prepare(device, layout)
        self.kept = [None if k is None else k.to(device) for k in self.kept]

    def step(self, model: nn.Module, x: Tensor, y: Tensor | None, distributed: bool) -> StepLoss:
        """Return the loss of Sec. 4.1, or of Sec. 4.2 without labels."""
        teacher_logits, blocks = self._ask(x)
        logits, taps = _as_pair(model.forward_taps(x))  # type: ignore[operator]
        logits_weight, block_weight, label_weight = self.lambdas
        terms: list[tuple[float, Tensor]] = []
        parts: dict[str, Tensor] = {}
        pairs: tuple[int, ...] = ()
        if logits_weight:
            parts["J_1"] = logits_distance(logits, teacher_logits, distributed=distributed)
            terms.append((logits_weight, parts["J_1"]))
        if block_weight:
            found = match_groups(taps, blocks, self.kept, self.norms, distributed=distributed)
            parts["J_b"] = torch.stack([f.distance for f in found]).sum()
            terms.append((block_weight, parts["J_b"]))
            pairs = tuple(f.best for f in found)
        if self.labels:
            parts["J_3"] = cross_entropy(logits, _required(y), distributed=distributed)
            terms.append((label_weight, parts["J_3"]))
        loss = torch.stack([weight * term for weight, term in terms]).sum()
        return StepLoss(loss, {name: part.detach() for name, part in parts.items()}, pairs)


class HintObjective(_WithTeacher):
    """FitNet's first stage: a 1x1 regressor on the student's middle map learns the teacher's hint.

    `model` is a `Hinted`, whose call returns the regressed map.
    """

    labels = False

    def __init__(self, teacher: nn.Module, group: int, teacher_batch_norm: str) -> None:
        super().__init__(teacher, teacher_batch_norm)
        self.group = group
        self.settings = {"objective": "hint", "group": repr(group)}

    def step(self, model: nn.Module, x: Tensor, y: Tensor | None, distributed: bool) -> StepLoss:
        """Return the hint loss against the last block of the group."""
        _, blocks = self._ask(x)
        loss = hint_loss(model(x), blocks[self.group][-1], distributed=distributed)
        return StepLoss(loss, {"hint": loss.detach()})


class SoftTargetObjective(_WithTeacher):
    """Knowledge distillation: soft targets of the teacher, and labels if there are any."""

    def __init__(
        self,
        teacher: nn.Module,
        *,
        labels: bool,
        temperature: float,
        soft_weight: float,
        teacher_batch_norm: str,
    ) -> None:
        super().__init__(teacher, teacher_batch_norm)
        self.labels = labels
        self.temperature = temperature
        self.soft_weight = soft_weight
        self.settings = {
            "objective": "soft targets",
            "labels": repr(labels),
            "temperature": repr(temperature),
            "soft_weight": repr(soft_weight),
        }

    def step(self, model: nn.Module, x: Tensor, y: Tensor | None, distributed: bool) -> StepLoss:
        """Return soft_weight * soft targets + cross entropy."""
        teacher_logits, _ = self._ask(x)
        logits = as_logits(model(x))
        soft = soft_target_loss(logits, teacher_logits, self.temperature, distributed=distributed)
        parts = {"soft": soft.detach()}
        loss = self.soft_weight * soft
        if self.labels:
            hard = cross_entropy(logits, _required(y), distributed=distributed)
            parts["J_3"] = hard.detach()
            loss = loss + hard
        return StepLoss(loss, parts)


def _required(y: Tensor | None) -> Tensor:
    if y is None:
        raise ValueError(
            "the loader yields images without labels; labelled=False learns from the teacher alone"
        )
    return y
