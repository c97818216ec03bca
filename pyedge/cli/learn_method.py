"""How `pyedge learn` learns, by its command line, and a summary of the result."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyedge.cli.console import Console, percent
from pyedge.cli.parsing import UsageError
from pyedge.edge.methods import chosen_method

if TYPE_CHECKING:
    from pyedge.edge.learner import EdgeLearner
    from pyedge.edge.result import LearnResult

# those of the command line that a classifier solved from statistics has no use for
_OF_STEPS = (
    "epochs",
    "steps",
    "eval_every",
    "patience",
    "resume",
    "lr",
    "batch_size",
    "optimizer",
    "schedule",
    "weight_decay",
    "warmup_steps",
    "augment",
    "warm_start",
    "trainable",
    "batch_norm",
    "lambdas",
    "norms",
)


def method_of(args: argparse.Namespace, console: Console, learner: EdgeLearner) -> str:
    """Choose how to learn, as `learn` does, by the command line.

    Raises UsageError for options that have no meaning for that.
    """
    named = [f"--{name.replace('_', '-')}" for name in _OF_STEPS if name in args.given]
    wrong = {
        "statistics": f"{named[0]} has no meaning for it, which takes no steps" if named else "",
        "transfer": ""
        if args.knowledge or args.cloud
        else "needs --knowledge PACK, what a teacher has left",
        "labels": "has no use for --knowledge; --method transfer takes both"
        if args.knowledge
        else "",
    }.get(args.method)
    if wrong:
        raise UsageError(f"--method {args.method}: {wrong}")
    student = learner.student
    method = chosen_method(
        args.method,
        student,
        # with labels a service's teacher is asked only where that is meant
        knowledge=args.knowledge or (args.cloud if _asked(args) else None),
        # with statistics it is only written to, which has to be asked for
        memory=None if args.method == "statistics" else args.memory,
        labels=None if args.no_labels else True,
        options=None,
        overrides=dict.fromkeys(name for name in _OF_STEPS if name in args.given),
    )
    if not args.forgettable and method != "statistics":
        raise UsageError(
            f"--no-forgettable has no meaning for --method {method}, which takes steps"
        )
    if args.method == "auto" and student.statistics is not None and method != "statistics":
        why = named[0] if named else "--memory"
        console.note(
            f"note: {why} means steps; without it {args.student} would learn from its statistics"
        )
    return method


def _asked(args: argparse.Namespace) -> bool:
    return args.no_labels or args.method == "transfer"


def summary(result: LearnResult, method: str, images: int) -> str:
    """Describe what a run did, and its best validation."""
    rows = [row for row in result.history if row["step"] == result.best_step]
    best = rows[0] if rows and "val_accuracy" in rows[0] else None
    if method == "statistics":
        lines = [f"learned from statistics: {images} images in {result.seconds:.2f} s, no steps"]
        if best is not None:
            lines.append(
                f"validation {percent(best['val_accuracy'])}, calibration error "
                f"{percent(best['val_calibration_error'])}"
            )
        return "\n".join(lines)
    how = "the teacher" if method == "transfer" else "labels alone"
    early = ", stopped early" if result.stopped_early else ""
    lines = [
        f"{result.steps} steps of {result.batch_size} images in {result.seconds:.0f} s{early}, "
        f"from {how}"
    ]
    if best is not None:
        lines.append(
            f"best validation at epoch {result.best_epoch}, step {result.best_step}: "
            f"{percent(best['val_accuracy'])}"
        )
    return "\n".join(lines)
