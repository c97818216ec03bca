"""Sums over the processes of a data-parallel run.

DistributedDataParallel averages the gradients of the processes. pyedge's losses are functions of
the whole batch (a root of a mean, a cosine), so each process computes the gradient of the global
loss with respect to its own part, times the number of processes: the average is then the sum of the
parts, and two processes take the step that one would have taken.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def world_size(distributed: bool) -> int:
    """Return the number of processes that share the batch; 1 if the run is not distributed."""
    return dist.get_world_size() if distributed else 1


def sum_over_processes(values: Tensor, distributed: bool) -> Tensor:
    """Return `values` summed over the processes; the same tensor if there is only one."""
    if not distributed:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


class _MeanOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, local_sum: Tensor, local_count: int) -> Tensor:
        total = torch.stack([local_sum.double(), local_sum.new_tensor(local_count).double()])
        dist.all_reduce(total)
        ctx.factor = dist.get_world_size() / total[1]  # type: ignore[attr-defined]
        return (total[0] / total[1]).to(local_sum.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return (grad * ctx.factor).to(grad.dtype), None  # type: ignore[attr-defined]


def mean_over_processes(local_sum: Tensor, local_count: int, distributed: bool) -> Tensor:
    """Return the mean over the whole batch from this process's sum and count, differentiably.

    A process whose part of the batch is empty still takes part, with a sum and a count of 0.
    """
    if not distributed:
        return local_sum / local_count
    return _MeanOverProcesses.apply(local_sum, local_count)
