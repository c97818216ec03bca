"""Shared by `train` and `transfer`: options, checkpoint, progress, output file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyedge
from pyedge.cli.console import Console, EvaluationLog, percent
from pyedge.cli.outputs import checkpoint_of, forget_checkpoint
from pyedge.cloud.training.evaluate import Evaluation
from pyedge.cloud.training.history import TrainResult
from pyedge.cloud.training.train_options import TrainOptions

if TYPE_CHECKING:
    from pyedge.data import BatchLoader

Score = Callable[[Evaluation], float]


def options_of(
    args: argparse.Namespace, console: Console, *, lr: float, **more: Any
) -> TrainOptions:
    """Make the TrainOptions of a command line; `lr` is the default rate."""
    return TrainOptions(
        epochs=max(1, args.epochs),
        steps=args.steps,
        optimizer=args.optimizer,
        lr=lr if args.lr is None else args.lr,
        weight_decay=args.weight_decay,
        schedule=args.schedule,
        warmup_steps=args.warmup_steps,
        eval_every=args.eval_every,
        seed=args.seed,
        precision=args.precision,
        accelerator=args.device,
        progress=console.shows_bar,
        checkpoint=checkpoint_of(args.out),
        resume=args.resume,
        **more,
    )


def run(
    console: Console,
    out: str,
    resume: bool,
    train: Callable[[Score], TrainResult],
    score: Score | None = None,
) -> TrainResult:
    """Run a training that keeps a checkpoint, and report each validation."""
    checkpoint, log = checkpoint_of(out), EvaluationLog(console)
    if checkpoint.exists() and not resume:
        console.note(f"note: {checkpoint} is left by an interrupted run; starting anew instead")
    if resume and not checkpoint.exists():
        console.note(f"note: there is no {checkpoint} to resume from; starting anew")

    def logged(evaluation: Evaluation) -> float:
        log.add(evaluation.accuracy, evaluation.loss)
        return evaluation.accuracy if score is None else score(evaluation)

    try:
        return train(logged)
    except KeyboardInterrupt:
        if checkpoint.exists():
            raise KeyboardInterrupt("the same command with --resume goes on") from None
        raise


def finish(out: str) -> None:
    """Remove the checkpoint of a training whose result is written."""
    forget_checkpoint(out)


def record_of(command: str, args: argparse.Namespace, result: TrainResult | None) -> dict[str, Any]:
    """Return the entry on this training for a network file's record."""
    entry: dict[str, Any] = {"command": command, "pyedge": pyedge.__version__, "seed": args.seed}
    if result is not None:
        entry.update(
            steps=result.steps,
            best_epoch=result.best_epoch,
            best_step=result.best_step,
            test_accuracy=result.test_accuracy,
            seconds=result.seconds,
        )
    return entry


def summary(result: TrainResult, loader: BatchLoader, best: bool, has_val: bool) -> str:
    """Describe how the training went."""
    early = ", stopped early" if result.stopped_early else ""
    lines = [f"{result.steps} steps of {loader.batch_size} images in {result.seconds:.0f} s{early}"]
    if has_val and best:
        lines.append(f"best validation at epoch {result.best_epoch}, step {result.best_step}")
    if result.test is not None:
        lines.append(tested(result.test))
    return "\n".join(lines)


def tested(evaluation: Evaluation) -> str:
    """Describe the result of the test."""
    return f"test accuracy {percent(evaluation.accuracy)} of {evaluation.count} images"
