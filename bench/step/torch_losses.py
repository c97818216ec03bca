"""The loss of one step in torch: as the paper's formulas read, and as well as it can be written.

Both return (J_1, J_b, J_3); J_1 is the RMSE of the logits, J_b the sum over the groups of the
distance of unit maps to the nearest candidate, J_3 cross entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.shared.torch_matching import (
    Distance,
    EagerDistance,
    padded,
    unit,
    unit_cosine,
    unit_distance,
)

Losses = tuple[Tensor, Tensor, Tensor]


def literal_losses(
    logits: Tensor,
    taps: list[Tensor],
    teacher_logits: Tensor,
    teacher_maps: list[list[Tensor]],
    kept: list[Tensor],
    labels: Tensor,
) -> Losses:
    """Sec. 4.1 as it stands: maps padded to the teacher's channels, normalised, subtracted."""
    j_1 = (logits - teacher_logits).square().mean().sqrt()
    j_b = logits.new_zeros(())
    for s, candidates, positions in zip(taps, teacher_maps, kept, strict=True):
        q_s = unit(padded(s, candidates[0].shape[1], positions))
        with torch.no_grad():
            q_t = [unit(t) for t in candidates]
            best = int(torch.stack([unit_cosine(q, q_s) for q in q_t]).argmax())
        j_b = j_b + unit_distance(q_t[best], q_s)
    return j_1, j_b, F.cross_entropy(logits, labels)


def closed_losses(
    logits: Tensor,
    taps: list[Tensor],
    teacher_logits: Tensor,
    maps: list[Tensor],
    norms: list[Tensor],
    labels: Tensor,
    compiled: bool = False,
) -> Losses:
    """Without padding: <t[kept], s> / (|t| |s|) on maps cut beforehand, J_b = sqrt(2 - 2 cos)."""
    distance = Distance if compiled else EagerDistance
    j_1 = (logits - teacher_logits).square().mean().sqrt()
    j_b = logits.new_zeros(())
    for s, candidates, norm in zip(taps, maps, norms, strict=True):
        j_b = j_b + distance.apply(s, candidates, norm)
    return j_1, j_b, F.cross_entropy(logits, labels)
