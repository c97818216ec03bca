"""pyedge learn: teach a student new images on the device, with only numpy."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyedge.classes.matching import absent, listing, nearly
from pyedge.cli import (
    cloud_options,
    described,
    learn_method,
    memory,
    names,
    options,
    outputs,
    parsing,
)
from pyedge.cli.console import Console, EvaluationLog
from pyedge.cli.parsing import UsageError, existing
from pyedge.edge.methods import METHODS

if TYPE_CHECKING:
    from pyedge.edge.learn_options import LearnOptions
    from pyedge.edge.learner import EdgeLearner
    from pyedge.images.edge_images import EdgeImages
    from pyedge.runs.evaluation import Evaluation

_SUGGESTED = 50  # names in a command line that is there to be pasted

USAGE = "STUDENT DATA --out FILE [--knowledge PACK] [options]"

DESCRIPTION = """\
Let a student learn from new images on the device where it runs. This needs no torch.

A student whose file has statistics (pyedge export --statistics) learns from them: one look at each
image, and its classifier knows the new classes and has forgotten none of the old ones. With options
of steps (--epochs, --lr, ...), or without statistics in its file, it learns by training steps.

By steps, with --knowledge, it learns from what a large network, the teacher, knows of these images
(pyedge knowledge records it). By default only the last convolution of each group and the classifier
learn then. Labels are the names of the class folders; --no-labels ignores them, and learns from the
teacher alone.
"""

EXAMPLES = """\
examples:
  pyedge learn student.pyedge photos --add mug,cup --out taught.pyedge
      Two new classes, from statistics if the file has some: seconds, and nothing is forgotten.
  pyedge learn student.pyedge photos --knowledge pack --add mug --epochs 5 --out taught.pyedge
      By steps, from the labels and from the teacher.
  pyedge learn student.pyedge snapshots --knowledge pack --no-labels --out taught.pyedge
      snapshots/anything/*.jpg: nobody has sorted these images; the teacher knows.
  pyedge learn student.pyedge photos --val 0.2 --patience 3 --max-memory 200M --out taught.pyedge
      By steps, from labels alone; a fifth of the images decides when to stop. Beware: without a
      teacher or a memory, classes that are not among the images are soon forgotten.
  pyedge learn student.pyedge photos --add mug --memory kept.memory --per-class 20 \\
      --out taught.pyedge
      Images of old classes in kept.memory are replayed; 20 of each class are kept there.
  pyedge learn signs photos --add mug --cloud https://cloud.example:8765 --out taught.pyedge
      The student called signs, from a service, which then gets sums of what was learned.
"""


def add_arguments(parser: parsing.Parser) -> None:
    """Add the options of `pyedge learn`."""
    parser.add_argument("student", metavar="STUDENT", help="a file of pyedge export (.pyedge)")
    parser.add_argument(
        "data",
        metavar="DATA",
        help="images: a folder or archive (.zip, .tar) of class folders, or arrays (.npy, .npz)",
    )
    options.add_splits(parser, classes_alone=True)
    options.add_out(parser, "the taught student")
    what = parser.add_argument_group("what is learned")
    what.add_argument(
        "--method",
        choices=METHODS,
        default="auto",
        help="statistics: one pass and a solve; transfer: steps, from --knowledge; labels: steps, "
        "from labels alone; auto (default): statistics if the file has them and no option of "
        "steps is given, else transfer or labels",
    )
    what.add_argument(
        "--no-forgettable",
        dest="forgettable",
        action="store_false",
        help="from statistics: put the second moments of these classes into one sum, which takes "
        "less room, but none of these classes can be forgotten later",
    )
    what.add_argument(
        "--knowledge", metavar="PACK", help="a folder of pyedge knowledge, about these images"
    )
    memory.add_options(what)
    parser.rename("--keep", "--per-class")
    options.add_losses(what)
    names.add_option(what, "--add", help="new classes, appended to those that the student knows")
    names.add_option(what, "--only-classes", help="learn only from images of these classes")
    what.add_argument(
        "--trainable",
        type=parsing.listed(str),
        metavar="WHAT",
        help="last_conv (the last convolution of each group and the classifier), classifier, all, "
        "or names of layers (default: what the student's file says)",
    )
    what.add_argument(
        "--batch-norm",
        choices=("frozen", "batch"),
        default="frozen",
        help="batch norm does not change (default), or learns from each batch",
    )
    what.add_argument(
        "--val",
        metavar="WHAT",
        help="images to validate on: a folder or file as DATA, or a share of DATA to hold back, "
        "such as 0.1; the weights of the best validation are the result",
    )
    what.add_argument(
        "--score",
        choices=("accuracy", "balanced"),
        default="accuracy",
        help="what is best: the share of all images (default), or the mean over classes",
    )
    online = parser.add_argument_group("a cloud's service (docs/cloud.md)")
    cloud_options.add_options(online)
    online.add_argument(
        "--no-contribute",
        dest="contribute",
        action="store_false",
        help="send no sums of what was learned",
    )
    options.add_seed(parser, "order, shifts, views and what is held back")
    options.add_length(parser, epochs=10)
    learning = options.add_learning(parser, lr="default 0.01", batch_size=64)
    learning.add_argument(
        "--augment",
        type=parsing.listed(str),
        default=["none"],
        metavar="LIST",
        help="change each image a little each time: crop, flip, or none (default; with "
        "--knowledge the views of the pack do it)",
    )
    learning.add_argument(
        "--warm-start",
        action="store_true",
        help="go on with the momentum of the previous run, which the file keeps",
    )
    learning.add_argument(
        "--max-memory",
        type=parsing.amount,
        metavar="BYTES",
        help="at most this much for weights and a batch (200M); batches get smaller if need be",
    )
    options.add_precision(parser)
    options.add_general(parser, device=False)
    parser.rename("--pooled", "--no-forgettable")


def run(args: argparse.Namespace, console: Console) -> int:
    """Learn, and write the student."""
    _check(args)
    cloud = cloud_options.cloud_of(args)
    if cloud is not None and not os.path.exists(args.student):
        args.student = str(cloud.download(args.student))
        console.note(f"{args.student}: the newest version of the service")
    existing(args.student)
    outputs.check_out(args.out, args.student, checkpoint=True)
    memory.check(args)
    from pyedge.cli import device_images
    from pyedge.edge.learner import EdgeLearner

    learner = EdgeLearner(
        args.student,
        threads=args.threads,
        max_memory=args.max_memory,
        precision=args.precision,
    )
    method = learn_method.method_of(args, console, learner)
    added: list[str] = []
    if not any("," in value for value in args.add or ()):
        # told before images are read; a name with a comma may be that of a folder
        added = names.chosen(args.add, (), "--add")
        learner.add_classes(added)
    labelled = not args.no_labels
    images = device_images.load(
        args.data,
        learner.input_shape,
        labelled=labelled or args.only_classes is not None,
        splits=args.splits,
        preprocessing=learner.student.preprocessing,
    )
    folders = images.class_names or ()
    if args.add and not added:
        added = names.chosen(args.add, folders, "--add")
        learner.add_classes(added)
    if args.only_classes is not None:
        images = images.only_classes(names.chosen(args.only_classes, folders, "--only-classes"))
    _check_classes(args, images, learner)
    val = _validation(args, learner)
    kept = memory.opened(args)
    console.note(f"{args.data}: {len(images)} images, {len(learner.classes)} classes")
    if kept is not None and len(kept):
        console.note(f"{args.memory}: {len(kept)} images of {len(kept.classes)} classes")
    if labelled:
        _note_of_absent(console, args.data, added, images, learner)
    log = EvaluationLog(console)

    def score(found: Evaluation) -> float:
        log.add(found.accuracy, found.loss)
        if args.score == "accuracy":
            return found.accuracy
        shares = [share for share in found.per_class if share == share]  # NaN: no images
        return sum(shares) / len(shares)

    given: dict[str, Any] = {"method": method, "knowledge": args.knowledge, "val": val}
    given |= {"cloud": cloud if method != "labels" and args.knowledge is None else None}
    given |= {"labelled": labelled, "score": None if val is None else score}
    if method == "statistics":
        settings = {"forgettable": args.forgettable, "seed": args.seed}
        result = learner.learn(images, **given, **settings)
    else:
        given["memory"] = kept if kept is not None and len(kept) else None
        with _resumable(args, console):
            result = learner.learn(images, **given, options=_options(args, console))
    if kept is not None and labelled:
        memory.keep(kept, learner, images, val, args.seed)
    learner.save(args.out)
    outputs.forget_checkpoint(args.out)
    told = None
    if kept is not None:
        # last: the checkpoint is of a run with the old memory, and could not be gone on from
        kept.save(args.memory)
        told = {"path": args.memory, "images": kept.counts, "bytes": kept.nbytes}
    student = learner.student
    sent = None
    if cloud is not None and args.contribute:
        sent = cloud.contribute(learner)
        if sent is not None:
            console.note(f"contribution {sent.digest[:12]}: {sent.state} ({sent.reason})")
    console.result(
        f"{learn_method.summary(result, method, len(images))}\n"
        + "\n".join([*described.lines(student), f"written to {args.out}"]),
        {
            "command": "learn",
            "out": args.out,
            "method": method,
            "images": len(images),
            "labels": labelled,
            "knowledge": args.knowledge,
            "memory": told,
            "contribution": None if sent is None else vars(sent),
            "classes": learner.classes,
            "added": added,
            "memory_bytes": learner.memory_bytes(result.batch_size),
            "training": result.to_dict(),
            **described.content(student),
        },
    )
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.student.endswith(".pt"):
        raise UsageError(
            f"{args.student} is a network file; pyedge export makes a student file (.pyedge) of it"
        )
    if args.no_labels and args.knowledge is None and args.cloud is None:
        raise UsageError("--no-labels without --knowledge or --cloud leaves nothing to learn from")
    if args.no_labels and not any(args.lambdas[:2]):
        raise UsageError(
            f"--lambdas: wanted J_1 or J_b above 0, as --no-labels drops J_3, got "
            f"{','.join(f'{each:g}' for each in args.lambdas)}"
        )
    if not any(args.lambdas):
        raise UsageError("--lambdas 0,0,0 leave nothing to learn")
    if not args.epochs and not args.steps:
        raise UsageError("--epochs 0 leaves nothing to do")
    if args.patience is not None and args.val is None:
        raise UsageError("--patience needs --val, to tell better from worse")
    unknown = [name for name in args.augment if name not in ("none", "crop", "flip")]
    if unknown or (len(args.augment) > 1 and "none" in args.augment):
        raise UsageError(
            f"--augment: wanted crop, flip, both with a comma between them, or none, got "
            f"{','.join(args.augment)!r}"
        )
    if args.knowledge is not None and args.augment != ["none"]:
        raise UsageError(
            "--augment: the pack knows its own views alone; pyedge knowledge --views N makes some"
        )


def _check_classes(args: argparse.Namespace, images: EdgeImages, learner: EdgeLearner) -> None:
    if args.no_labels or images.class_names is None:
        return
    missing = absent(images.class_names, learner.classes)
    if missing:
        short = len(missing) <= _SUGGESTED
        adds = names.written("--add", missing) if short else "--add @FILE, a name on each line,"
        raise UsageError(
            f"{args.data} has classes that {args.student} does not know: {listing(missing)}"
            f"{nearly(missing[0], learner.classes)}; {adds} adds them"
        )


def _note_of_absent(
    console: Console, data: str, added: list[str], images: EdgeImages, learner: EdgeLearner
) -> None:
    """Warn of new classes without images: they would be in the file, but not learned."""
    classes = learner.classes if images.class_names is None else images.class_names
    ids = () if images.labels is None else set(images.labels.tolist())
    here = [classes[i] for i in ids if i < len(classes)]
    lacking = absent(added, here)
    if lacking:
        console.note(f"note: no image of {data} is of {listing(lacking)}: nothing of it is learned")


def _validation(args: argparse.Namespace, learner: EdgeLearner) -> Any:
    if args.val is None:
        return None
    with contextlib.suppress(ValueError):
        share = float(args.val)
        if not 0 < share < 1:
            raise UsageError(f"--val: wanted a share between 0 and 1, got {args.val}")
        return share
    from pyedge.cli import device_images

    return device_images.load(
        args.val,
        learner.input_shape,
        labelled=True,
        splits=args.splits,
        preprocessing=learner.student.preprocessing,
    )


def _options(args: argparse.Namespace, console: Console) -> LearnOptions:
    from pyedge.edge.learn_options import LearnOptions

    trainable: Any = None if args.trainable is None else tuple(args.trainable)
    if (
        trainable is not None
        and len(trainable) == 1
        and trainable[0]
        in (
            "last_conv",
            "classifier",
            "all",
        )
    ):
        trainable = trainable[0]
    return LearnOptions(
        epochs=max(1, args.epochs),
        steps=args.steps,
        batch_size=args.batch_size,
        optimizer=args.optimizer,
        lr=0.01 * (1.0 if args.optimizer == "sgd" else 0.1) if args.lr is None else args.lr,
        weight_decay=args.weight_decay,
        schedule=args.schedule,
        warmup_steps=args.warmup_steps,
        warm_start=args.warm_start,
        lambdas=args.lambdas,
        norms=args.norms,
        trainable=trainable,
        batch_norm=args.batch_norm,
        crop_padding=1 if "crop" in args.augment else 0,
        flip="flip" in args.augment,
        eval_every=args.eval_every,
        patience=args.patience,
        seed=args.seed,
        progress=console.shows_bar,
        checkpoint=outputs.checkpoint_of(args.out),
        resume=args.resume,
    )


@contextlib.contextmanager
def _resumable(args: argparse.Namespace, console: Console) -> Iterator[None]:
    """Report an existing checkpoint, and after an interruption how to go on from it."""
    checkpoint = outputs.checkpoint_of(args.out)
    if checkpoint.exists() and not args.resume:
        console.note(f"note: {checkpoint} is left by an interrupted run; starting anew instead")
    if args.resume and not checkpoint.exists():
        console.note(f"note: there is no {checkpoint} to resume from; starting anew")
    try:
        yield
    except KeyboardInterrupt:
        if checkpoint.exists():
            raise KeyboardInterrupt("the same command with --resume goes on") from None
        raise
