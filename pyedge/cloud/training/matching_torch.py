"""The matching of Sec. 4.1 in torch operations: any device, any floating type.

The results are those of the C++ kernels for float32 on a CPU: sums in float64, gradient 0 at
distance 0 and for a map of zeros. A NaN stays a NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Images are taken in runs of at most this many elements, so that their float64 copies stay small.
_RUN_ELEMENTS = 1 << 24


class Statistics(NamedTuple):
    """Cosines and norms of one group: [k], [k], () per batch; [k, n], [k, n], [n] per image."""

    cosine: Tensor
    teacher_norm: Tensor
    student_norm: Tensor


class Chosen(NamedTuple):
    """The chosen pair, as the gradient needs it; `scale` accounts for the other processes."""

    teacher: Tensor
    kept: Tensor | None
    cosine: Tensor
    teacher_norm: Tensor
    student_norm: Tensor
    distance: Tensor
    scale: float


def match_sums(
    student: Tensor, blocks: Sequence[Tensor], kept: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return <t', s> [k, n], |t|^2 [k, n] and |s|^2 [n] in float64."""
    n, c = student.shape[:2]
    dot = torch.zeros(len(blocks), n, dtype=torch.float64, device=student.device)
    teacher = torch.zeros_like(dot)
    own = torch.zeros_like(dot[0])
    for run in _runs(n, blocks[0]):
        s = student[run].double()
        own[run] = (s * s).sum((1, 2, 3))
        for k, block in enumerate(blocks):
            t = block[run].double()
            teacher[k, run] = (t * t).sum((1, 2, 3))
            dot[k, run] = (_facing(t, kept, c) * s).sum((1, 2, 3))
    return dot, teacher, own


def from_sums(dot: Tensor, teacher_square: Tensor, student_square: Tensor) -> Statistics:
    """Return cosines and norms from the sums behind them; a zero map has cosine 0."""
    teacher_norm, student_norm = teacher_square.sqrt(), student_square.sqrt()
    product = teacher_norm * student_norm
    # `product == 0` rather than `> 0`: a NaN must stay one
    cosine = torch.where(product == 0, torch.zeros_like(dot), dot / product).clamp(-1, 1)
    return Statistics(cosine, teacher_norm, student_norm)


def distance_of(cosine: Tensor) -> Tensor:
    """Return J_b = sqrt(2 - 2 cos), the distance of two unit vectors."""
    return (2 - 2 * cosine).clamp(min=0).sqrt()


def torch_gradient(student: Tensor, chosen: Chosen, grad: Tensor) -> Tensor:
    """Return grad * scale * dJ_b/ds, of the student's shape, dtype and memory layout."""
    n, c = student.shape[:2]
    cosine, teacher_norm, student_norm = chosen.cosine, chosen.teacher_norm, chosen.student_norm
    if cosine.dim():  # per image: the distance is the mean of theirs
        grad = grad.double() / max(n, 1)
    slope = grad.double() * chosen.scale / (distance_of(cosine) * student_norm)
    flat = (distance_of(cosine) == 0) | (teacher_norm == 0) | (student_norm == 0)
    zero = torch.zeros_like(slope)
    toward = torch.where(flat, zero, -slope / teacher_norm).expand(n)
    away = torch.where(flat, zero, slope * cosine / student_norm).expand(n)
    result = torch.empty_like(student)
    for run in _runs(n, chosen.teacher):
        t = _facing(chosen.teacher[run], chosen.kept, c).double()
        s = student[run].double()
        result[run] = (toward[run, None, None, None] * t + away[run, None, None, None] * s).to(
            student.dtype
        )
    return result


def _facing(teacher: Tensor, kept: Tensor | None, channels: int) -> Tensor:
    if kept is None:
        return teacher[:, :channels]
    return teacher.index_select(1, kept.to(teacher.device))


def _runs(images: int, like: Tensor) -> list[slice]:
    length = max(1, _RUN_ELEMENTS // max(1, like[:1].numel()))
    return [slice(i, min(i + length, images)) for i in range(0, images, length)]
