"""J_b of one group in torch, Eq. 3 and 4 and the distance: as they read, and as well as it can be.

Literal: the student's maps are padded to the teacher's channels, both made unit, subtracted.
Closed form: cosine <t[kept], s> / (|t| |s|), J_b = sqrt(2 - 2 cos), and the gradient a * t + b * s
written out; for maps of the teacher's full width, and for maps that were cut beforehand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# The formulas as they read


def padded(student: Tensor, channels: int, kept: Tensor) -> Tensor:
    """Put the student's channels at their places among the teacher's, with zeros between."""
    n, _, h, w = student.shape
    return student.new_zeros(n, channels, h, w).index_copy(1, kept, student)


def unit(maps: Tensor) -> Tensor:
    """Eq. 3: all maps of a batch, as one vector of length 1."""
    return maps / maps.norm()


def unit_cosine(q_t: Tensor, q_s: Tensor) -> Tensor:
    """Eq. 4."""
    return (q_t * q_s).sum()


def unit_distance(q_t: Tensor, q_s: Tensor) -> Tensor:
    """J_b, the length of the difference."""
    return (q_t - q_s).square().sum().sqrt()


# The closed form


def distance_of(cosine: Tensor) -> Tensor:
    """J_b of a cosine."""
    return (2 - 2 * cosine).sqrt()


def closed_sums(student: Tensor, teachers: list[Tensor], kept: Tensor) -> Tensor:
    """[cosine of each, |t| of each, |s|] of full-width maps, in one tensor."""
    s_norm = torch.linalg.vector_norm(student)
    t_norms = torch.stack([torch.linalg.vector_norm(t) for t in teachers])
    dots = torch.stack([(t.index_select(1, kept) * student).sum() for t in teachers])
    return torch.cat([dots / (t_norms * s_norm), t_norms, s_norm[None]])


def closed_gradient(student: Tensor, teacher: Tensor, kept: Tensor, numbers: Tensor) -> Tensor:
    """a * t[kept] + b * s with the two factors taken from [cosine, |t|, |s|]."""
    cos, t_norm, s_norm = numbers.unbind()
    distance = distance_of(cos.clamp_max(1))
    a, b = -1 / (distance * s_norm * t_norm), cos / (distance * s_norm * s_norm)
    return a * teacher.index_select(1, kept) + b * student


class Distance(torch.autograd.Function):
    """J_b of one group by the closed form, with its gradient, for torch.compile.

    s [n, c, h, w]; maps [k, n, h, w, c], cut to s's channels; norms [k], of the teacher's full
    width.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, maps: Tensor, norms: Tensor) -> Tensor:
        flat = s.permute(0, 2, 3, 1).reshape(-1)
        dots = (maps.view(len(maps), -1) * flat).sum(1)
        s_norm = flat.square().sum().sqrt()
        cosine, best = (dots / (norms * s_norm)).max(0)
        distance = distance_of(cosine)
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


class EagerDistance(Distance):
    """The same without torch.compile: BLAS for the sums, which is 7 times faster than
    multiplying and adding up, and two passes for the gradient."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, maps: Tensor, norms: Tensor) -> Tensor:
        flat = s.permute(0, 2, 3, 1).reshape(-1)
        s_norm = torch.dot(flat, flat).sqrt()
        cosine, best = (torch.mv(maps.view(len(maps), -1), flat) / (norms * s_norm)).max(0)
        distance = distance_of(cosine)
        ctx.save_for_backward(s, maps, norms, s_norm, cosine, best, distance)
        return distance

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        s, maps, norms, s_norm, cosine, best, distance = ctx.saved_tensors
        slope = grad / (distance * s_norm)
        of_s, of_t = float(slope * cosine / s_norm), float(slope / norms[best])
        t = maps[int(best)].permute(0, 3, 1, 2)
        return (s * of_s).sub_(t, alpha=of_t), None, None
