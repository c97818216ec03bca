"""Selective layer-wise knowledge transfer from a teacher to its student (Sec. 4)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyedge.arguments import shown
from pyedge.cloud.feed.batch import Source
from pyedge.cloud.feed.failures import fail_in_network
from pyedge.cloud.feed.loaders import check_loader, peek_images
from pyedge.cloud.feed.networks import check_apart, check_network
from pyedge.cloud.graph.modes import evaluating
from pyedge.cloud.graph.siblings import facing
from pyedge.cloud.shown import compare, compare_preprocessing, look_at
from pyedge.cloud.training.evaluate import Evaluation
from pyedge.cloud.training.history import TrainResult
from pyedge.cloud.training.launch import run
from pyedge.cloud.training.losses import check_masks
from pyedge.cloud.training.objectives import TransferObjective
from pyedge.cloud.training.train import RENAMED
from pyedge.cloud.training.train_options import (
    TrainOptions,
    TransferOptions,
    TransferSettings,
    transfer_options,
)
from pyedge.cloud.training.trainable import modules_behind
from pyedge.cloud.weights.checks import check_float32, is_float32, like_weights
from pyedge.errors import StructureError
from pyedge.keywords import keywords

if TYPE_CHECKING:
    from typing_extensions import Unpack

TEACHES_RENAMED = {**RENAMED, "labels": "labelled"}


@keywords(fields=TransferOptions, renamed=TEACHES_RENAMED)
def transfer(
    student: nn.Module,
    teacher: nn.Module,
    loader: Any,
    *,
    labelled: bool = True,
    val: Any = None,
    test: Any = None,
    score: Callable[[Evaluation], float] | None = None,
    options: TransferOptions | TrainOptions | None = None,
    **overrides: Unpack[TransferSettings],
) -> TrainResult:
    """Train `student` in place on what `teacher` knows of the images in `loader`.

    The loss is l1 J_1 + l2 sum over groups of J_b + l3 J_3 with `lambdas` (Sec. 4.1): the distance
    of the logits, the distance of each group's map to the teacher block that is nearest in this
    batch, and the cross entropy. `labelled=False` drops J_3 and never touches a label, so `loader`
    may yield only images: unseen categories, Sec. 4.2.

    `padding`: which of the teacher's channels the student's are compared with: "kept", those of the
    filters that survived (the default, better on unseen categories), or "end", the first ones (the
    paper). `norms`: l2 norms over the "batch" (the paper) or each "image". `teacher_batch_norm`:
    "frozen" running statistics, or those of the "batch" as in the authors' runs (the running ones
    do not change). `teacher` is a network or the result of `tap_teacher`; it stays on the device of
    the run, and its weights do not change; one that is not float32 teaches as a float32 copy.

    Other keywords are fields of TransferOptions, `lambdas` to `teacher_batch_norm` among them, and
    override `options`; loaders, `score`, several processes and errors are as in `train`. For new
    categories on the device (Table 4) the paper trains `trainable="last_conv"`; that keeps the old
    categories only at a low rate with frequent evaluation, such as lr=0.002, steps=64,
    eval_every=4.
    """
    labelled = uses_labels(labelled, "transfer")
    chosen = transfer_options(options, dict(overrides))
    weights = chosen.lambdas
    if not any(weights if labelled else weights[:2]):
        raise ValueError(
            "transfer: lambdas: wanted a weight above 0"
            f"{'' if labelled else ' of J_1 or J_b, without labels'}, got {weights}"
        )
    check_pair("transfer", student, teacher)
    source = Source("transfer")
    check_loader(loader, source)
    given = loader
    x, loader = peek_images(loader, source)
    compare(teacher, look_at(x), "transfer", "the teacher")
    compare_preprocessing(teacher, given, "transfer", "the teacher")
    x = like_weights(x, student)
    logits, groups = _logits_and_groups(student, student.forward_taps, x, source)  # type: ignore[arg-type]
    if not (weights[0] or (labelled and weights[2])):  # J_b alone: nothing reaches the classifier
        one = x[:1].to(next(student.parameters()).device)
        chosen = chosen.replace(
            trainable=modules_behind(student, chosen.trainable, lambda s: _sum_of_taps(s, one))
        )
    tapped = tapped_teacher(teacher, x, "transfer")
    if weights[0]:
        _check_classes(logits, tapped, x, source)
        check_logits(student, tapped, x, "transfer")
    if chosen.padding == "kept":
        tapped = facing(tapped, getattr(student, "teacher_channels", None))
    objective = TransferObjective(
        tapped,
        [student.kept(g) if chosen.padding == "kept" else None for g in range(groups)],  # type: ignore[operator]
        labels=labelled,
        lambdas=weights,
        norms=chosen.norms,
        teacher_batch_norm=chosen.teacher_batch_norm,
    )
    objective.settings["padding"] = chosen.padding
    return run(
        "transfer",
        student,
        objective,
        loader,
        chosen,
        val=val,
        test=test,
        score=score,
    )


def uses_labels(labelled: Any, title: str) -> bool:
    """Return whether the labels of a loader are used. Raises TypeError for labels themselves."""
    if labelled is None:  # labels=None, as the version before spelled it
        return False
    if not isinstance(labelled, bool):
        raise TypeError(
            f"{title}: labelled: wanted True or False, since the labels themselves come from the "
            f"loader, got {shown(labelled)}"
        )
    return labelled


def check_pair(title: str, student: Any, teacher: Any) -> None:
    """Check that these are a float32 student and a network that can teach it.

    Raises TypeError for anything else, ValueError for weights that are not finite, or shared.
    """
    if not callable(getattr(student, "forward_taps", None)):
        raise TypeError(
            f"{title}: student: wanted the result of pyedge.compress, got {type(student).__name__}"
        )
    check_network(student, title, "student")
    check_float32(title, "student", student)
    check_network(teacher, title, "teacher")
    check_apart(student, teacher, title)


def check_logits(student: nn.Module, tapped: nn.Module, x: Tensor, title: str) -> None:
    """Run both on some images: ValueError if one masks a class that the other does not."""
    few = x[:8]
    with torch.no_grad(), evaluating(student), evaluating(tapped):
        own, _ = student.forward_taps(few.to(next(student.parameters()).device))  # type: ignore[operator]
        device = next((p.device for p in tapped.parameters()), few.device)
        check_masks(own, tapped(few.to(device))[0], title)


def tapped_teacher(teacher: nn.Module, x: Tensor, title: str) -> nn.Module:
    """Return the teacher in float32 with taps, which it may have already."""
    if getattr(teacher, "is_tapped", False):
        return teacher if is_float32(teacher) else copy.deepcopy(teacher).float()
    from pyedge.cloud.graph.taps import tap_teacher

    device = next((p.device for p in teacher.parameters()), x.device)
    try:
        return tap_teacher(teacher, x[:1].to(device))
    except StructureError as error:
        raise StructureError(f"{title}: teacher: {error}") from error


def _logits_and_groups(
    net: nn.Module, ask: Callable[[Tensor], Any], x: Tensor, source: Source
) -> tuple[int, int]:
    """Count logits and groups with one image in evaluation mode, which changes nothing."""
    one = x[:1].to(next((p.device for p in net.parameters()), x.device))
    with evaluating(net), torch.no_grad():
        try:
            logits, taps = ask(one)
            return logits.shape[-1], len(taps)
        except Exception as error:
            fail_in_network(error, source, tuple(one.shape))


def _check_classes(logits: int, teacher: nn.Module, x: Tensor, source: Source) -> None:
    known, _ = _logits_and_groups(teacher, teacher, like_weights(x, teacher), source)
    if known != logits:
        raise ValueError(
            f"transfer: teacher: wanted the student's {logits} classes, as J_1 compares their "
            f"logits (lambdas with 0 for J_1 do without), got {known}"
        )


def _sum_of_taps(student: nn.Module, x: Tensor) -> Tensor:
    taps = student.forward_taps(x)[1]  # type: ignore[operator]
    return torch.stack([tap.sum() for tap in taps]).sum()
