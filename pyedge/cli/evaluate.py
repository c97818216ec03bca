"""pyedge evaluate: how often a network is right, and which classes it confuses."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyedge.classes.matching import listing, shown
from pyedge.cli import names, options
from pyedge.cli.console import Console, percent
from pyedge.cli.parsing import UsageError, existing

if TYPE_CHECKING:
    from pyedge.runs.evaluation import Evaluation

USAGE = "NETWORK DATA [options]"

DESCRIPTION = """\
Count how often a teacher or a student is right, class by class, and which classes it confuses.

NETWORK may be a student for a device (.pyedge), too: the device's engine answers then, and this
needs no torch. Without --part it uses the test images that training left out. A network may answer
with any of its classes, even if DATA holds only some of them. Where it is right far less often than
its file says, a note names what is likely wrong: the preprocessing, or the order of the classes.
"""

EXAMPLES = """\
examples:
  pyedge evaluate trained.pt photos
  pyedge evaluate student.pyedge photos
      The same images for the exported student, as it answers on a device.
  pyedge evaluate trained.pt photos --classes cat,dog
      Also the accuracy on these classes together, and on the others.
  pyedge evaluate trained.pt holiday --part all --json
      All images of another folder; the JSON has the whole confusion matrix.
"""

_BATCH = 256  # images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pyedge evaluate`."""
    parser.add_argument(
        "network",
        metavar="NETWORK",
        help="a teacher's or a student's file (.pt), or one of pyedge export or learn (.pyedge)",
    )
    options.add_data(parser)
    parser.add_argument(
        "--part",
        choices=("test", "val", "train", "all"),
        default="test",
        help="which images of DATA (default test)",
    )
    names.add_option(
        parser, "--classes", help="show the accuracy on these classes and on the others"
    )
    options.add_batch_size(parser, _BATCH)
    options.add_precision(parser)
    options.add_own_code(parser)
    options.add_general(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Evaluate and print."""
    from pyedge.student.archive import is_student

    existing(args.network)
    if is_student(args.network):
        from pyedge.cli import evaluate_student

        found = evaluate_student.outcome(args, console)
    elif args.precision != "float32":
        raise UsageError(
            f"--precision {args.precision}: wanted a student for a device (.pyedge), got "
            f"{args.network}"
        )
    else:
        from pyedge.cli import evaluate_network

        found = evaluate_network.outcome(args, console)
    return report(args, console, **found)


def report(
    args: argparse.Namespace,
    console: Console,
    *,
    found: Evaluation,
    classes: Sequence[str],
    only: Sequence[int],
    part: str,
    **content: Any,
) -> int:
    """Print an evaluation; only: ids of --classes. `content` goes into the JSON as it is."""
    parts: dict[str, Any] = {}
    if only:
        shares = found.old_and_new(only)
        parts = {"these": shares["new"], "others": shares["old"], "mean": shares["mean"]}
    text = f"accuracy {percent(found.accuracy)} of {found.count} images ({part} of {args.data})"
    if only:
        text += (
            f"\n  on {listing([classes[i] for i in only])}: {percent(parts['these'])}"
            f"\n  on the others: {percent(parts['others'])}"
        )
    console.result(
        f"{text}\n\n{_table(found, [console.sayable(shown(name)) for name in classes])}",
        {
            "command": "evaluate",
            "network": args.network,
            **content,
            "part": part,
            "classes": classes,
            **found.to_dict(),
            "selected": None if not only else {"classes": [classes[i] for i in only], **parts},
        },
    )
    return 0


def _table(found: Evaluation, classes: list[str]) -> str:
    from pyedge.cloud.tables import text_table  # plain Python, no torch

    rows: list[Any] = []
    for i, (name, counts) in enumerate(zip(classes, found.confusion.tolist(), strict=True)):
        total = sum(counts)
        counts[i] = 0
        most = max(counts)
        mistaken = f"{classes[counts.index(most)]} ({most})" if most else ""
        rows.append((name, total, percent(found.per_class[i]), mistaken))
    return text_table(("class", "images", "right", "most often taken for"), rows)
