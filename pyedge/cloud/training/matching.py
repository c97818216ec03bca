"""Match a student's map with the teacher's blocks of its group: cosine, distance, gradient.

Sec. 4.1, Eq. 3 and 4: the student's map s is zero-padded to the teacher's channels, both are
l2-normalised, the teacher block of largest cosine is chosen for this batch, and the distance to it
is the loss J_b. The padding never exists in memory. With t' = t[:, kept], the channels of the
teacher's map that the student's are compared with,

    cos = <t', s> / (|t| |s|)        J_b = sqrt(2 - 2 cos)
    dJ_b/ds = -(t' / |t| - cos s / |s|) / (J_b |s|)

Sums run in float64: in float32 `2 - 2 cos` is 9 % off at distance 1e-3 and zero below 1e-4. Where
the distance is 0 the direction of the gradient is undefined; it is 0 here. A map of zeros has
cosine 0, distance sqrt(2) and gradient 0. A NaN in a map gives a NaN distance.

CPU float32 maps go to the C++ kernels without a copy; for all others torch operations give the
same results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from pyedge import kernels
from pyedge.arguments import shown
from pyedge.cloud.training.distributed import sum_over_processes, world_size
from pyedge.cloud.training.matching_torch import (
    Chosen,
    Statistics,
    distance_of,
    from_sums,
    match_sums,
    torch_gradient,
)
from pyedge.cloud.zeros import in_kernels
from pyedge.runs.run_options import NORMS


class MatchOutcome(NamedTuple):
    """The result of `match`: the distance J_b to the best block, its index, each block's cosine."""

    distance: Tensor  # (), differentiable with respect to the student's map
    best: int
    cosine: Tensor  # [k] float64; with norms="image" the mean over images


def match(
    student_map: Tensor,
    teacher_maps: Sequence[Tensor],
    kept: Tensor | None = None,
    norms: str = "batch",
    *,
    distributed: bool = False,
) -> MatchOutcome:
    """Choose the teacher block nearest to the student's map, and return the distance J_b to it.

    Sec. 4.1, Eq. 3 and 4. `student_map` is [n, c_s, h, w], each of `teacher_maps` [n, c_t, h, w];
    `kept` ([c_s] int64, strictly increasing) holds the positions of the student's channels among
    the teacher's; None means the first c_s (the paper pads at the end). `norms="batch"` normalises
    over the whole batch (the paper), "image" each image by itself; the distance is then the mean
    over images. With `distributed=True` the processes of the default group share one batch.

    Gradients flow only to `student_map`. The second derivative is not supported.
    Raises ValueError for shapes that do not fit each other and TypeError for other dtypes.
    """
    return match_groups([student_map], [teacher_maps], [kept], norms, distributed=distributed)[0]


def match_groups(
    student_maps: Sequence[Tensor],
    teacher_maps: Sequence[Sequence[Tensor]],
    kept: Sequence[Tensor | None],
    norms: str = "batch",
    *,
    distributed: bool = False,
) -> list[MatchOutcome]:
    """Match every group as `match` does, with one exchange between processes and one device sync.

    Raises ValueError if the numbers of groups differ, otherwise as `match`.
    """
    if norms not in NORMS:
        raise ValueError(f"match: norms: wanted one of {NORMS}, got {norms!r}")
    if not len(student_maps) == len(teacher_maps) == len(kept):
        raise ValueError(
            f"match: student, teacher and kept: wanted the same number of groups, got "
            f"{len(student_maps)}, {len(teacher_maps)} and {len(kept)}"
        )
    for group, (student, blocks, positions) in enumerate(
        zip(student_maps, teacher_maps, kept, strict=True)
    ):
        _check(group, student, blocks, positions)
    with torch.no_grad():
        statistics = [
            _statistics(student, blocks, positions, norms)
            for student, blocks, positions in zip(student_maps, teacher_maps, kept, strict=True)
        ]
        if norms == "batch":
            if distributed:
                statistics = _reduce_batch(statistics)
            scores = [(s.cosine, distance_of(s.cosine)) for s in statistics]
            images = None
        else:
            scores, images = _image_means(statistics, distributed)
        best = torch.stack([cosine.argmax() for cosine, _ in scores]).tolist()
    outcomes = []
    for g, (cosine, distance) in enumerate(scores):
        k = best[g]
        local = 1.0 if images is None else student_maps[g].shape[0] / images
        chosen = Chosen(
            teacher_maps[g][k].detach(),
            kept[g],
            statistics[g].cosine[k],
            statistics[g].teacher_norm[k],
            statistics[g].student_norm,
            distance[k],
            world_size(distributed) * local,
        )
        outcomes.append(MatchOutcome(_Distance.apply(student_maps[g], chosen), k, cosine))
    return outcomes


def _check(group: int, student: Tensor, blocks: Sequence[Tensor], kept: Tensor | None) -> None:
    where = f"match: group {group}"
    if not blocks:
        raise ValueError(f"{where}: teacher_maps: wanted at least one block, got none")
    for name, x in [
        ("student_map", student),
        *((f"teacher_maps[{i}]", t) for i, t in enumerate(blocks)),
    ]:
        if x.dim() != 4:
            raise ValueError(f"{where}: {name}: wanted [n, c, h, w], got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise TypeError(f"{where}: {name}: wanted a floating type, got {x.dtype}")
    channels = blocks[0].shape[1]
    n, c, h, w = student.shape
    for i, t in enumerate(blocks):
        if t.shape != (n, channels, h, w):
            raise ValueError(
                f"{where}: teacher_maps[{i}]: wanted {[n, channels, h, w]} to face a student map "
                f"of {list(student.shape)}, got {list(t.shape)}"
            )
    if c > channels:
        raise ValueError(
            f"{where}: the student map has {c} channels, more than the teacher's {channels}"
        )
    if kept is not None and (kept.dtype != torch.int64 or kept.shape != (c,)):
        raise ValueError(
            f"{where}: kept: wanted one int64 position for each of the student's {c} channels, "
            f"got {tuple(kept.shape)} of {kept.dtype}"
        )
    if kept is not None and kept.device.type == "cpu" and c:  # elsewhere a look would wait
        rising = bool((kept.diff() > 0).all())
        if not rising or not 0 <= int(kept[0]) <= int(kept[-1]) < channels:
            raise ValueError(
                f"{where}: kept: wanted positions that rise strictly within 0..{channels - 1}, the "
                f"teacher's channels, got {shown(kept.tolist())}"
            )


def _statistics(
    student: Tensor, blocks: Sequence[Tensor], kept: Tensor | None, norms: str
) -> Statistics:
    maps = _as_arrays([student, *blocks])
    if maps is not None:
        try:
            found = kernels.cosine_match(maps[0], maps[1:], _positions(kept), norms)  # type: ignore[arg-type]
        except ValueError:
            # The kernels refuse NaN and infinity. Torch operations carry them through to the loss,
            # where the loop names them; of several processes, all must reach the exchange of sums.
            if all(bool(torch.isfinite(x).all()) for x in (student, *blocks)):
                raise
        else:
            return Statistics(
                torch.as_tensor(found.cosine, dtype=torch.float64),
                torch.as_tensor(found.teacher_norm, dtype=torch.float64),
                torch.as_tensor(found.student_norm, dtype=torch.float64),
            )
    dot, teacher, own = match_sums(student, blocks, kept)
    if norms == "batch":
        dot, teacher, own = dot.sum(1), teacher.sum(1), own.sum()
    return from_sums(dot, teacher, own)


def _reduce_batch(statistics: list[Statistics]) -> list[Statistics]:
    """Turn the cosines of this process's part into those of the whole batch.

    The sums behind them follow from the norms, <t', s> = cos |t| |s|, and sums add up.
    """
    packed = [
        torch.cat(
            [
                s.cosine * s.teacher_norm * s.student_norm,
                s.teacher_norm.square(),
                s.student_norm.square().reshape(1),
            ]
        )
        for s in statistics
    ]
    total = sum_over_processes(torch.cat(packed), True)
    result = []
    for s, values in zip(statistics, total.split([p.numel() for p in packed]), strict=True):
        k = s.cosine.numel()
        result.append(from_sums(values[:k], values[k : 2 * k], values[2 * k]))
    return result


def _image_means(
    statistics: list[Statistics], distributed: bool
) -> tuple[list[tuple[Tensor, Tensor]], int]:
    """Return each group's mean cosine [k] and mean distance [k], and the number of images."""
    sums = torch.cat(
        [torch.cat([s.cosine.sum(1), distance_of(s.cosine).sum(1)]) for s in statistics]
    )
    images = statistics[0].cosine.shape[1]
    if distributed:
        total = sum_over_processes(torch.cat([sums, sums.new_tensor([images])]), True)
        sums, images = total[:-1], int(total[-1])
    means = (sums / images).split([2 * s.cosine.shape[0] for s in statistics])
    return [(m[: len(m) // 2], m[len(m) // 2 :]) for m in means], images


class _Distance(torch.autograd.Function):
    """J_b as a function of the student's map: forward returns a known value, backward computes."""

    @staticmethod
    def forward(ctx: FunctionCtx, student: Tensor, chosen: Chosen) -> Tensor:
        ctx.save_for_backward(student)
        ctx.chosen = chosen  # type: ignore[attr-defined]
        return chosen.distance.to(torch.promote_types(student.dtype, torch.float32))

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (student,) = ctx.saved_tensors  # type: ignore[attr-defined]
        with torch.no_grad():
            result = _gradient(student, ctx.chosen, grad)  # type: ignore[attr-defined]
        if torch.is_grad_enabled():  # only with create_graph=True
            result = _OnceOnly.apply(result, grad, student)
        return result, None


class _OnceOnly(torch.autograd.Function):
    """The identity on a first derivative, which refuses a second one."""

    @staticmethod
    def forward(ctx: FunctionCtx, result: Tensor, grad: Tensor, student: Tensor) -> Tensor:
        return result.view_as(result)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError(
            "match: the second derivative of J_b is not supported; "
            "call backward or grad without create_graph=True"
        )


def _gradient(student: Tensor, chosen: Chosen, grad: Tensor) -> Tensor:
    """Return grad * scale * dJ_b/ds, like the student's map in shape, dtype and memory layout."""
    maps = _as_arrays([student, chosen.teacher])
    scale = chosen.scale * float(grad) if maps is not None else 0.0
    if maps is None or not math.isfinite(scale) or not bool(torch.isfinite(chosen.cosine).all()):
        return torch_gradient(student, chosen, grad)
    return torch.from_numpy(
        kernels.cosine_match_gradient(
            maps[0],
            maps[1],
            _positions(chosen.kept),
            chosen.cosine.numpy(),
            chosen.teacher_norm.numpy(),
            chosen.student_norm.numpy(),
            scale=scale,
        )
    )


def _as_arrays(maps: Sequence[Tensor]) -> list[np.ndarray] | None:
    """Return the maps as the kernels take them, all in one layout; None if they cannot take them.

    Tensors that already share a layout are not copied; others are copied to the first one's layout.
    """
    if not all(x.numel() and in_kernels(x) for x in maps):
        return None
    for layout in (torch.contiguous_format, torch.channels_last):
        if all(x.is_contiguous(memory_format=layout) for x in maps):
            return [x.detach().numpy() for x in maps]
    planar = maps[0].is_contiguous()
    layout = torch.contiguous_format if planar else torch.channels_last
    return [x.detach().contiguous(memory_format=layout).numpy() for x in maps]


def _positions(kept: Tensor | None) -> np.ndarray | None:
    return None if kept is None else kept.cpu().numpy()
