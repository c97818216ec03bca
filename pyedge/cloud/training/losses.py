"""The losses of Sec. 4 and of the FitNet baseline, over a batch that processes may share.

`distributed=True` means that the processes of the default group each hold a part of the batch: the
value is then that of the whole batch, and the gradient is scaled for DistributedDataParallel (see
`pyedge.cloud.training.distributed`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from pyedge.cloud.training.distributed import mean_over_processes, sum_over_processes, world_size
from pyedge.warning import warn

_MASK = -1e3  # no network computes such a logit; masks are -1e3, -1e4, -1e9, minus infinity


class _RootMeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor, b: Tensor, distributed: bool) -> Tensor:
        # float64: a sum of squares of float32 differences near 0 keeps its digits, and the logits
        # are few
        # a class that both networks mask, at minus infinity, is no difference
        difference = torch.where(a == b, 0.0, a.double() - b.double())
        sums = torch.stack([difference.square().sum(), difference.new_tensor(a.numel())])
        total, count = sum_over_processes(sums, distributed)
        value = (total / count).sqrt()
        slope = torch.where(value == 0, torch.zeros_like(value), 1 / (value * count))
        ctx.save_for_backward(difference, slope * world_size(distributed))
        ctx.dtype = a.dtype  # type: ignore[attr-defined]
        return value.to(torch.promote_types(a.dtype, torch.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        difference, slope = ctx.saved_tensors  # type: ignore[attr-defined]
        result = difference * (slope * grad)
        return result.to(ctx.dtype), None, None  # type: ignore[attr-defined]


def root_mean_square_distance(student: Tensor, teacher: Tensor, distributed: bool) -> Tensor:
    """Return sqrt(mean((student - teacher)^2)); the gradient at distance 0 is 0."""
    return _RootMeanSquare.apply(student, teacher.detach(), distributed)


def logits_distance(student: Tensor, teacher: Tensor, *, distributed: bool = False) -> Tensor:
    """Return J_1, the distance between the logits of student and teacher, both [n, classes].

    Sec. 4.1 writes the root of a sum. The authors' runs used the root of the mean (RMSE), which
    does not grow with batch and classes, and this function does too. The gradient at distance 0 is
    0, and flows only to `student`. Raises ValueError if the shapes differ.
    """
    if student.dim() != 2 or student.shape != teacher.shape:
        raise ValueError(
            f"logits_distance: teacher: wanted [n, classes] like the student's "
            f"{list(student.shape)}, got {list(teacher.shape)}"
        )
    return root_mean_square_distance(student, teacher, distributed)


def cross_entropy(logits: Tensor, labels: Tensor, *, distributed: bool = False) -> Tensor:
    """Return J_3, the mean cross entropy of logits [n, classes] against int64 labels [n].

    The formula in Sec. 4.1 lacks its minus sign (as printed, training would maximise the error) and
    adds the terms of the wrong classes; this is the usual softmax cross entropy. Raises ValueError
    for shapes that do not belong together, TypeError for labels that are not int64.
    """
    if labels.dtype != torch.int64:
        raise TypeError(f"cross_entropy: labels: wanted int64, got {labels.dtype}")
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"cross_entropy: labels: wanted [n] for logits [n, classes] of {list(logits.shape)}, "
            f"got {list(labels.shape)}"
        )
    logits = _at_least_float32(logits)
    if not distributed:
        return F.cross_entropy(logits, labels)
    total = F.cross_entropy(logits, labels, reduction="sum")
    return mean_over_processes(total, labels.shape[0], distributed)


def soft_target_loss(
    student: Tensor, teacher: Tensor, temperature: float, *, distributed: bool = False
) -> Tensor:
    """Return the softened cross entropy of Hinton et al. 2015, times temperature squared.

    It is the Kullback-Leibler divergence (cross entropy less the teacher's own entropy), so 0 means
    that the student agrees with the teacher. Both are logits [n, classes].
    """
    target = F.log_softmax(_at_least_float32(teacher.detach()) / temperature, 1)
    log_p = F.log_softmax(_at_least_float32(student) / temperature, 1)
    # a class that both networks mask has probability 0 in both, and no share in the sum
    masked = (target == -torch.inf) & (log_p == -torch.inf)
    target, log_p = target.masked_fill(masked, 0.0), log_p.masked_fill(masked, 0.0)
    total = F.kl_div(log_p, target, reduction="sum", log_target=True) * temperature**2
    return mean_over_processes(total, student.shape[0], distributed)


def hint_loss(regressed: Tensor, hint: Tensor, *, distributed: bool = False) -> Tensor:
    """Return FitNet's hint loss, half the mean squared difference of two maps (its Eq. 3).

    Romero et al. sum over a map; the mean only rescales the learning rate, and lets one learning
    rate serve every map size. Raises ValueError if the shapes differ.
    """
    if regressed.shape != hint.shape:
        raise ValueError(
            f"hint_loss: hint: wanted {list(regressed.shape)} like the regressed map, "
            f"got {list(hint.shape)}"
        )
    total = (_at_least_float32(regressed) - _at_least_float32(hint.detach())).square().sum() / 2
    return mean_over_processes(total, regressed.numel(), distributed)


def as_logits(answers: Tensor) -> Tensor:
    """Return the output of a network's `forward` as logits: probabilities become their logarithms.

    Probabilities are recognised by their values: in each row none is negative and all add up to 1,
    which does not happen with logits. A softmax of the result is the network's answer, so its
    losses are right whether or not the network ends in a softmax. (A log-softmax already counts as
    logits.)
    """
    if answers.dim() != 2 or not answers.numel():
        return answers
    values = answers.detach().float()
    # float16 probabilities add up to 1 within some 1e-3
    if (values < 0).any() or ((values.sum(1) - 1).abs() > 5e-3).any():
        return answers
    return answers.clamp_min(torch.finfo(answers.dtype).tiny).log()


def warn_of_underflow(answers: Tensor, labels: Tensor) -> bool:
    """Warn, and return True, if a network gives the right class a probability of exactly 0.

    Such an answer has no gradient: the values before the softmax are lost.
    """
    if as_logits(answers) is answers:
        return False
    lost = answers.detach().gather(1, labels[:, None]) < torch.finfo(answers.dtype).tiny
    if not bool(lost.any()):
        return False
    warn(
        f"the network ends in a softmax that gives {int(lost.sum())} of {len(lost)} right classes "
        "a probability of 0, from which nothing can be learned; let forward return the logits "
        "while it trains, or divide them by a number before the softmax"
    )
    return True


def check_masks(student: Tensor, teacher: Tensor, title: str) -> None:
    """Refuse a pair of which one masks a class that the other does not, judging by several images.

    A mask is the same number for all images, far below the others: it alone would make up the
    distance. Raises ValueError that names the classes by their ids.
    """
    if student.shape != teacher.shape or len(student) < 2:
        return
    pair = student.detach(), teacher.detach().to(student.device)
    masks = [((each <= _MASK) & (each == each[0])).all(0) for each in pair]
    for one, other, names in ((0, 1, ("student", "teacher")), (1, 0, ("teacher", "student"))):
        alone = (masks[one] & ~masks[other]).nonzero().flatten().tolist()
        if alone:
            raise ValueError(
                f"{title}: the {names[0]} masks classes {', '.join(map(str, alone[:8]))} (their "
                f"logits are {float(pair[one][0, alone[0]]):g}), the {names[1]} "
                "does not; their logits cannot be compared. Mask both, or neither"
            )


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
