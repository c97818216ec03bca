"""Attention transfer (Zagoruyko and Komodakis 2016, "Paying more attention to attention").

A map's attention is the sum of its channels' squares at each place, F_sum^2 (their Sec. 3.1);
the loss is cross entropy + beta / 2 * sum over groups of ||Q_s / |Q_s| - Q_t / |Q_t|||_2 (eq. 2),
Q being the flattened attention of an image at the end of each group. As in their code the distance
is the mean of squares over images and places, for which beta is 1000.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyedge.cloud.training.losses import cross_entropy
from pyedge.cloud.training.objectives import StepLoss, TransferObjective

BETA = 1000.0


def attention(maps: Tensor) -> Tensor:
    """Return unit attention vectors: [n, c, h, w] -> [n, h w]."""
    return F.normalize(maps.square().mean(1).flatten(1), dim=1)


def attention_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Sum over groups the mean squared difference of two attentions; widths may differ.

    Raises ValueError for another number of groups.
    """
    if len(student) != len(teacher):
        raise ValueError(f"attention_loss: wanted {len(teacher)} groups, got {len(student)}")
    pairs = zip(student, teacher, strict=True)
    return torch.stack([(attention(s) - attention(t)).square().mean() for s, t in pairs]).sum()


class AttentionObjective(TransferObjective):
    """What a training run minimises: labels, and attention at the last block of each group."""

    def __init__(self, tapped: nn.Module, beta: float = BETA) -> None:
        super().__init__(
            tapped, [], labels=True, lambdas=(0, 0, 1), norms="batch", teacher_batch_norm="frozen"
        )
        self._beta = beta
        self.settings = {"objective": "attention transfer", "beta": repr(beta)}

    def step(self, model: nn.Module, x: Tensor, y: Tensor | None, distributed: bool) -> StepLoss:
        """Return cross entropy + beta / 2 * attention."""
        if y is None:
            raise ValueError("AttentionObjective: y: wanted labels, got None")
        _, blocks = self._ask(x)
        logits, taps = model.forward_taps(x)
        attended = attention_loss(taps, [each[-1] for each in blocks])
        hard = cross_entropy(logits, y, distributed=distributed)
        parts = {"attention": attended.detach(), "J_3": hard.detach()}
        return StepLoss(hard + self._beta / 2 * attended, parts)
