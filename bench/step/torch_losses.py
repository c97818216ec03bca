"""The loss of one step in torch: as the paper's formulas read, and as well as it can be written.

Both return (J_1, J_b, J_3); J_1 is the RMSE of the logits, J_b the sum over the groups of the
distance of unit maps to the nearest candidate, J_3 cross entropy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

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
        n, _, h, w = s.shape
        padded = s.new_zeros(n, candidates[0].shape[1], h, w).index_copy(1, positions, s)
        q_s = padded / padded.norm()
        with torch.no_grad():
            q_t = [t / t.norm() for t in candidates]
            best = int(torch.stack([(q * q_s).sum() for q in q_t]).argmax())
        j_b = j_b + (q_t[best] - q_s).square().sum().sqrt()
    return j_1, j_b, F.cross_entropy(logits, labels)


class _Distance(torch.autograd.Function):
    """J_b of one group by the closed form, with its gradient a * t + b * s written out.

    s [n, c, h, w]; maps [k, n, h, w, c]; norms [k], of the teacher's full width.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, maps: Tensor, norms: Tensor) -> Tensor:
        flat = s.permute(0, 2, 3, 1).reshape(-1)
        dots = (maps.view(len(maps), -1) * flat).sum(1)
        s_norm = flat.square().sum().sqrt()
        cosine, best = (dots / (norms * s_norm)).max(0)
        distance = (2 - 2 * cosine).sqrt()
        ctx.save_for_backward(s, maps, norms, s_norm, cosine, best, distance)
        return distance

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        s, maps, norms, s_norm, cosine, best, distance = ctx.saved_tensors
        slope = grad / (distance * s_norm)
        # best stays a tensor: its value would break the graph in two
        t = maps.index_select(0, best.view(1))[0].permute(0, 3, 1, 2)
        norm = norms.index_select(0, best.view(1))
        return slope * (cosine / s_norm * s - t / norm), None, None


class _EagerDistance(_Distance):
    """The same without torch.compile: BLAS for the sums, which is 7 times faster than
    multiplying and adding up, and two passes for the gradient."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, maps: Tensor, norms: Tensor) -> Tensor:
        flat = s.permute(0, 2, 3, 1).reshape(-1)
        s_norm = torch.dot(flat, flat).sqrt()
        cosine, best = (torch.mv(maps.view(len(maps), -1), flat) / (norms * s_norm)).max(0)
        distance = (2 - 2 * cosine).sqrt()
        ctx.save_for_backward(s, maps, norms, s_norm, cosine, best, distance)
        return distance

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        s, maps, norms, s_norm, cosine, best, distance = ctx.saved_tensors
        slope = grad / (distance * s_norm)
        of_s, of_t = float(slope * cosine / s_norm), float(slope / norms[best])
        t = maps[int(best)].permute(0, 3, 1, 2)
        return (s * of_s).sub_(t, alpha=of_t), None, None


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
    distance = _Distance if compiled else _EagerDistance
    j_1 = (logits - teacher_logits).square().mean().sqrt()
    j_b = logits.new_zeros(())
    for s, candidates, norm in zip(taps, maps, norms, strict=True):
        j_b = j_b + distance.apply(s, candidates, norm)
    return j_1, j_b, F.cross_entropy(logits, labels)
