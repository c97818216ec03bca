"""FitNet (Romero et al. 2014), the baseline that the paper compares with."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyedge.arguments import choice, real, whole
from pyedge.cloud.feed.batch import Source
from pyedge.cloud.feed.loaders import check_loader, peek_images
from pyedge.cloud.graph.modes import with_gradients
from pyedge.cloud.training.evaluate import Evaluation
from pyedge.cloud.training.history import TrainResult
from pyedge.cloud.training.launch import run
from pyedge.cloud.training.objectives import HintObjective, SoftTargetObjective
from pyedge.cloud.training.train_options import TrainOptions, TrainSettings, with_overrides
from pyedge.cloud.training.trainable import modules_behind, trainable_modules
from pyedge.cloud.training.transfer import (
    TEACHES_RENAMED,
    check_logits,
    check_pair,
    tapped_teacher,
    uses_labels,
)
from pyedge.cloud.weights.checks import like_weights
from pyedge.keywords import keywords
from pyedge.runs.run_options import BATCH_NORMS

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Hinted(nn.Module):
    """A student with a 1x1 convolution that widens its middle map to the teacher's channels."""

    def __init__(self, student: nn.Module, group: int, student_channels: int, hint: int) -> None:
        super().__init__()
        self.student = student
        self.group = group
        self.regressor = nn.Conv2d(student_channels, hint, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the regressed map [n, c_t, h, w]."""
        _, taps = self.student.forward_taps(x)  # type: ignore[operator]
        return self.regressor(taps[self.group])


@keywords(fields=TrainOptions, renamed=TEACHES_RENAMED)
def fitnet(
    student: nn.Module,
    teacher: nn.Module,
    loader: Any,
    *,
    labelled: bool = True,
    temperature: float = 4.0,
    soft_weight: float = 1.0,
    hint_share: float = 0.5,
    group: int | None = None,
    teacher_batch_norm: str = "frozen",
    val: Any = None,
    test: Any = None,
    score: Callable[[Evaluation], float] | None = None,
    options: TrainOptions | None = None,
    **overrides: Unpack[TrainSettings],
) -> TrainResult:
    """Train `student` in place by FitNet's two stages, with the same loop as `transfer`.

    First the layers up to the last block of the middle group (or of `group`) learn to produce the
    teacher's map there, through a 1x1 regressor that is then dropped; then the whole student learns
    the teacher's soft targets at `temperature` (weight `soft_weight`), and the labels unless
    `labelled=False`. The first stage takes `hint_share` of the options' epochs or steps in addition
    to these; 0 leaves it out, and what remains is knowledge distillation. Its result is in
    `stages`. With a checkpoint the stages write two files, the first with ".hint" added to its
    name.

    Other arguments and errors are as in `transfer`.
    """
    _check(temperature, soft_weight, hint_share)
    labelled = uses_labels(labelled, "fitnet")
    choice(teacher_batch_norm, "fitnet: teacher_batch_norm", BATCH_NORMS)
    chosen = with_overrides(options, dict(overrides))
    check_pair("fitnet", student, teacher)
    source = Source("fitnet")
    check_loader(loader, source, again=bool(hint_share))
    x, loader = peek_images(loader, source)
    x = like_weights(x, student)
    tapped = tapped_teacher(teacher, x, "fitnet")
    check_logits(student, tapped, x, "fitnet")
    stages: tuple[TrainResult, ...] = ()
    if hint_share:
        with with_gradients():
            stage = _hint_stage(
                student, tapped, loader, x, group, teacher_batch_norm, chosen, hint_share
            )
        stages = (stage,)
    objective = SoftTargetObjective(
        tapped,
        labels=labelled,
        temperature=temperature,
        soft_weight=soft_weight,
        teacher_batch_norm=teacher_batch_norm,
    )
    result = run(
        "fitnet",
        student,
        objective,
        loader,
        chosen,
        val=val,
        test=test,
        score=score,
    )
    return dataclasses.replace(result, stages=stages)


def _check(temperature: float, soft_weight: float, hint_share: float) -> None:
    real(temperature, "fitnet: temperature", above=0)
    real(soft_weight, "fitnet: soft_weight", above=0)
    real(hint_share, "fitnet: hint_share", least=0, most=10)


def _hint_stage(
    student: nn.Module,
    tapped: nn.Module,
    loader: Any,
    x: Tensor,
    group: int | None,
    teacher_batch_norm: str,
    options: TrainOptions,
    share: float,
) -> TrainResult:
    student_maps, teacher_maps = _maps(student, tapped, x)
    group = len(student_maps) // 2 if group is None else group
    group = whole(group, "fitnet: group", 0, len(student_maps) - 1)
    with torch.random.fork_rng([]):
        torch.manual_seed(options.seed)
        hinted = Hinted(
            student, group, student_maps[group].shape[1], teacher_maps[group][-1].shape[1]
        )
    hinted.to(next(student.parameters()).device)
    length: dict[str, Any] = {"steps": _part(options.steps, share)}
    if options.steps is None:
        length["epochs"] = _part(options.epochs, share)
    if options.checkpoint is not None:
        length["checkpoint"] = f"{options.checkpoint}.hint"
    one = x[:1].to(next(student.parameters()).device)
    learns = options.trainable
    if not isinstance(learns, str) or learns == "last_conv":
        learns = ("regressor", *(f"student.{m}" for m in trainable_modules(student, learns) or ()))
    stage = options.replace(
        **length,
        trainable=modules_behind(hinted, learns, lambda model: model(one)),
        keep_best=False,
        patience=None,
    )
    objective = HintObjective(tapped, group, teacher_batch_norm)
    return run("fitnet hint", hinted, objective, loader, stage)


def _part(length: int | None, share: float) -> int | None:
    return None if length is None else max(1, round(length * share))


def _maps(student: nn.Module, tapped: nn.Module, x: Tensor) -> tuple[Any, Any]:
    """Return the maps of both for one image, from copies in evaluation mode."""
    with torch.no_grad():
        own = copy.deepcopy(student).eval()
        device = next(own.parameters()).device
        student_maps = own.forward_taps(x[:1].to(device))[1]  # type: ignore[operator]
        taught = copy.deepcopy(tapped).eval()
        device = next((p.device for p in taught.parameters()), x.device)
        return student_maps, taught(x[:1].to(device))[1]
