"""pyedge transfer: train a student on what its teacher knows."""

from __future__ import annotations

import argparse
import dataclasses
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from pyedge.classes.matching import quoted
from pyedge.cli import names, options, parsing
from pyedge.cli.console import Console, percent
from pyedge.cli.parsing import UsageError, existing

if TYPE_CHECKING:
    from torch import nn

    from pyedge.cli.dataset import Data
    from pyedge.cli.train_and_transfer import Score
    from pyedge.cloud.network_file import NetworkInfo
    from pyedge.cloud.training.evaluate import Evaluation
    from pyedge.cloud.training.history import TrainResult
    from pyedge.cloud.training.train_options import TrainOptions

USAGE = "STUDENT --teacher TEACHER DATA --out FILE [options]"

DESCRIPTION = """\
Train a student on what its teacher knows of your images, and write it to a file.

The student learns to give the teacher's answers (J_1), to have its inner maps (J_b: in each group,
those of the teacher's block that is nearest at the moment), and to be right (J_3). --lambdas weighs
the three. Without labels the third is dropped, and the student learns from the teacher alone.
"""

EXAMPLES = """\
examples:
  pyedge transfer student.pt --teacher teacher.pt photos --out trained.pt
  pyedge transfer student.pt --teacher teacher.pt snapshots --no-labels --out trained.pt
      snapshots/anything/*.jpg: nobody has sorted these images; the teacher knows.
  pyedge transfer trained.pt --teacher teacher.pt photos --only-classes cat --trainable last_conv \\
      --steps 64 --eval-every 4 --result best --out updated.pt
      As on a device: images of one class, and only the last convolution of each group and the
      classifier learn. The result is the best one on this class and on the others.
  pyedge transfer student.pt photos --method labels --out independent.pt
      To compare with: the same training on labels alone, without the teacher.
"""

_LR = {"all": 0.1, "last_conv": 0.002}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pyedge transfer`."""
    parser.add_argument("network", metavar="STUDENT", help="a file of pyedge compress or transfer")
    options.add_data(parser)
    parser.add_argument("--teacher", metavar="TEACHER", help="a file of pyedge train (required)")
    options.add_out(parser, "the trained student")
    what = parser.add_argument_group("what is learned")
    what.add_argument(
        "--method",
        choices=("transfer", "fitnet", "labels"),
        default="transfer",
        help="transfer (default); for comparison, fitnet (a hint of the teacher's, then its "
        "answers) or labels (no teacher)",
    )
    options.add_losses(what)
    names.add_option(
        what,
        "--only-classes",
        help="learn only from images of these classes; the result shows them and the others",
    )
    what.add_argument(
        "--trainable",
        type=parsing.listed(str),
        default=["all"],
        metavar="WHAT",
        help="all (default), last_conv (the last convolution of each group and the classifier), "
        "or names of modules",
    )
    what.add_argument(
        "--padding",
        choices=("kept", "end"),
        default="kept",
        help="compare a student's channels with the teacher's they come from (kept, default), "
        "or with the first ones (end, the paper)",
    )
    what.add_argument(
        "--batch-norm",
        choices=("batch", "frozen"),
        default="batch",
        help="the student's batch norm learns from each batch, or does not change (default batch)",
    )
    what.add_argument(
        "--result",
        choices=("best", "last"),
        help="which weights to write: of the best validation (default) or of the end (default "
        "with --only-classes, where validation on classes not shown would be a look ahead)",
    )
    options.add_own_code(parser)
    options.add_seed(parser, "order and augmentation")
    options.add_training(parser, lr="default 0.1, and 0.002 with --trainable last_conv")
    options.add_general(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Train and write the student."""
    _check(args)
    from pyedge.cli import dataset, machine, networks, outputs, train_and_transfer
    from pyedge.cloud.network_file import save_network

    outputs.check_out(args.out, args.teacher, checkpoint=True)
    machine.check_device(args.device)
    machine.use_threads(args.threads)
    for path in (args.network, args.teacher or args.network):
        existing(path)
    student, info = networks.open_network(args.network, args.model, "student")
    teacher = None
    if args.method != "labels":
        teacher, theirs = networks.open_network(args.teacher, args.model, "teacher")
        _check_pair(args, info, theirs)
    data = dataset.load_for(
        *(console, args.data, info),
        labels=not args.no_labels,
        of=args.network,
        splits=args.splits,
    )
    only: list[int] = []
    images = data.train
    if args.only_classes is not None:
        only = names.ids(args.only_classes, info.classes, "--only-classes")
        args.only_classes = [info.classes[i] for i in only]
        images = images.only_classes(only)
        if not len(images):
            raise UsageError(f"--only-classes: {args.data} has no training images of them")
    best = args.result == "best" or (args.result is None and not only)
    trainable = args.trainable[0] if len(args.trainable) == 1 else ""
    _check_trainable(args.trainable, student)
    settings = train_and_transfer.options_of(
        args,
        console,
        lr=_LR.get(trainable, 0.1) * (1.0 if args.optimizer == "sgd" else 0.01),
        patience=args.patience,
        trainable=trainable if trainable in _LR else tuple(args.trainable),
        batch_norm=args.batch_norm,
        keep_best=best,
    )
    loader = dataset.training_loader(
        images, args.batch_size, args.seed, args.augment, info.preprocessing
    )

    def train(score: Score) -> TrainResult:
        return _trained(args, student, teacher, info, loader, data, settings, score)

    def balanced(evaluation: Evaluation) -> float:
        mean = evaluation.old_and_new(only)["mean"]
        return evaluation.accuracy if mean != mean else mean  # NaN: no images of one side

    result = train_and_transfer.run(
        console, args.out, args.resume, train, balanced if only else None
    )
    entry = {
        **train_and_transfer.record_of("transfer", args, result),
        "method": args.method,
        "labels": not args.no_labels,
        "only_classes": args.only_classes,
        "lambdas": list(args.lambdas),
        "trainable": args.trainable,
    }
    save_network(args.out, student, dataclasses.replace(info, record=(*info.record, entry)))
    train_and_transfer.finish(args.out)
    text = train_and_transfer.summary(result, loader, best, data.val is not None)
    parts: dict[str, Any] = {}
    if only and result.test is not None:
        parts = _old_and_new(result.test, only)
        text += "".join(f"\n  {name}: {percent(share)}" for name, share in parts.items())
    console.result(
        f"{text}\nwritten to {args.out}",
        {
            "command": "transfer",
            "out": args.out,
            "method": args.method,
            "labels": not args.no_labels,
            "only_classes": args.only_classes,
            "images": {**data.counts(), "train": len(images)},
            "test_accuracy": result.test_accuracy,
            "test_accuracy_by_part": parts or None,
            "training": result.to_dict(),
        },
    )
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.method == "labels" and args.no_labels:
        raise UsageError("--method labels and --no-labels leave nothing to learn from")
    if args.method == "labels" and args.teacher is not None:
        raise UsageError("--method labels has no use for --teacher")
    if args.method != "labels" and args.teacher is None:
        raise UsageError("missing: --teacher, the file of the teacher")
    if args.no_labels and not any(args.lambdas[:2]):
        raise UsageError(
            f"--lambdas: wanted J_1 or J_b above 0, as --no-labels drops J_3, got "
            f"{','.join(f'{each:g}' for each in args.lambdas)}"
        )
    if not any(args.lambdas):
        raise UsageError("--lambdas 0,0,0 leave nothing to learn")
    if not args.epochs and not args.steps:
        raise UsageError("--epochs 0 leaves nothing to do")


def _check_trainable(wanted: list[str], student: nn.Module) -> None:
    modules = [name for name, _ in student.named_modules() if name]
    for name in wanted:
        if name not in modules and not (name in _LR and len(wanted) == 1):
            near = parsing.suggestion(name, [*_LR, *modules])
            raise UsageError(
                f"--trainable: the student has no module {name!r}{near}; wanted all, last_conv, "
                "or names of modules"
            )


def _check_pair(args: argparse.Namespace, mine: NetworkInfo, theirs: NetworkInfo) -> None:
    if mine.classes != theirs.classes:
        pairs = zip_longest(mine.classes, theirs.classes, fillvalue="")
        i, (a, b) = next((i, (a, b)) for i, (a, b) in enumerate(pairs) if a != b)
        raise UsageError(
            f"{args.network} and {args.teacher} know different classes, or in another order: "
            f"class {i} is {quoted(a)} in one and {quoted(b)} in the other"
        )
    if mine.input_shape != theirs.input_shape:
        sizes = ["x".join(map(str, info.input_shape)) for info in (mine, theirs)]
        raise UsageError(f"{args.network} takes images of {sizes[0]}, {args.teacher} of {sizes[1]}")
    if (mine.builder, dict(mine.options)) != (theirs.builder, dict(theirs.options)):
        raise UsageError(
            f"{args.network} was cut out of another network ({mine.builder}) than {args.teacher} "
            f"({theirs.builder})"
        )


def _trained(
    args: argparse.Namespace,
    student: nn.Module,
    teacher: nn.Module | None,
    info: NetworkInfo,
    loader: Any,
    data: Data,
    settings: TrainOptions,
    score: Score,
) -> TrainResult:
    import torch

    import pyedge
    from pyedge.cli.dataset import evaluation_loader
    from pyedge.cloud.graph.taps import tap_teacher

    val, test = (evaluation_loader(part, info.preprocessing) for part in (data.val, data.test))
    common: dict[str, Any] = {
        "val": val,
        "test": test,
        "score": None if val is None else score,
        "options": settings,
    }
    if args.method == "labels":
        return pyedge.train(student, loader, **common)
    assert teacher is not None
    assert info.student is not None
    tapped = tap_teacher(teacher, torch.zeros(1, *info.input_shape), info.student.structure)
    labelled = not args.no_labels
    if args.method == "fitnet":
        return pyedge.fitnet(student, tapped, loader, labelled=labelled, **common)
    return pyedge.transfer(
        student,
        tapped,
        loader,
        labelled=labelled,
        lambdas=args.lambdas,
        padding=args.padding,
        norms=args.norms,
        **common,
    )


def _old_and_new(test: Evaluation, only: list[int]) -> dict[str, float]:
    shares = test.old_and_new(only)
    return {
        "these classes": shares["new"],
        "the others": shares["old"],
        "mean of the two": shares["mean"],
    }
