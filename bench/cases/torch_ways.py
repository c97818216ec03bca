"""The kernels' work written in torch: as the paper's formulas read, and as well as it can be.

Each function takes the same inputs and returns what can be compared: zero fractions, or a
`(cosines, gradient)` pair.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.shared.torch_matching import (
    closed_gradient,
    closed_sums,
    distance_of,
    padded,
    unit,
    unit_cosine,
    unit_distance,
)


def zero_literal(x: Tensor) -> Tensor:
    """Eq. 2: the mean of an indicator."""
    return (x == 0).float().mean((2, 3))


def zero_sum(x: Tensor) -> Tensor:
    """Count booleans, then divide [n, c] numbers."""
    return (x == 0).sum((2, 3)) / x[0, 0].numel()


def zero_count_nonzero(x: Tensor) -> Tensor:
    return 1 - torch.count_nonzero(x, dim=(2, 3)) / x[0, 0].numel()


def affine_literal(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Affine, ReLU, and Eq. 2 on the activation."""
    return zero_literal(F.relu(x * scale[:, None, None] + shift[:, None, None]))


def affine_sum(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    off = x * scale[:, None, None] + shift[:, None, None] <= 0
    return off.sum((2, 3)) / x[0, 0].numel()


def match_literal(student: Tensor, teachers: list[Tensor], kept: Tensor) -> list[Tensor]:
    """Eq. 3 and 4 for each candidate: pad, normalise, multiply; J_b from the difference."""
    results = []
    for teacher in teachers:
        q_s = unit(padded(student, teacher.shape[1], kept))
        q_t = unit(teacher)
        results.append(unit_cosine(q_t, q_s))
        results.append(unit_distance(q_t, q_s))
    return results


def match_grad_literal(
    student: Tensor, teachers: list[Tensor], kept: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, and autograd through the J_b of the best candidate."""
    student = student.detach().requires_grad_()
    results = match_literal(student, teachers, kept)
    cosines = torch.stack(results[::2])
    results[2 * int(cosines.argmax()) + 1].backward()
    assert student.grad is not None
    return cosines.detach(), student.grad


def match_closed(student: Tensor, teachers: list[Tensor], kept: Tensor) -> list[Tensor]:
    """Without padding: <t[kept], s> / (|t| |s|), and J_b = sqrt(2 - 2 cos)."""
    s_norm = torch.linalg.vector_norm(student)
    cosines = [
        (teacher.index_select(1, kept) * student).sum()
        / (torch.linalg.vector_norm(teacher) * s_norm)
        for teacher in teachers
    ]
    return [x for cos in cosines for x in (cos, distance_of(cos.clamp_max(1)))]


def match_grad_by_hand(
    student: Tensor, teachers: list[Tensor], kept: Tensor, sums=closed_sums, slope=closed_gradient
) -> tuple[Tensor, Tensor]:
    """The closed form and its gradient by hand, no autograd; `sums` and `slope` may be compiled."""
    k = len(teachers)
    numbers = sums(student, teachers, kept)
    best = int(numbers[:k].argmax())
    chosen = torch.stack([numbers[best], numbers[k + best], numbers[2 * k]])
    return numbers[:k], slope(student, teachers[best], kept, chosen)
