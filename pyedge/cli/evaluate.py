"""pyedge evaluate: how often a network is right, and which classes it confuses."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyedge.classes.matching import listing, shown
from pyedge.cli import names, options
from pyedge.cli.console import Console, percent
from pyedge.cli.parsing import UsageError

if TYPE_CHECKING:
    from pyedge.cloud.training.evaluate import Evaluation

USAGE = "NETWORK DATA [options]"

DESCRIPTION = """\
Count how often a teacher or a student is right, class by class, and which classes it confuses.

Without --part it uses the test images that training left out. A network may answer with any of its
classes, even if DATA holds only some of them. Where it is right far less often than its file says,
a note names what is likely wrong: the preprocessing, or the order of the classes.
"""

EXAMPLES = """\
examples:
  pyedge evaluate trained.pt photos
  pyedge evaluate trained.pt photos --classes cat,dog
      Also the accuracy on these classes together, and on the others.
  pyedge evaluate trained.pt holiday --part all --json
      All images of another folder; the JSON has the whole confusion matrix.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pyedge evaluate`."""
    parser.add_argument("network", metavar="NETWORK", help="a teacher's or a student's file")
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
    options.add_own_code(parser)
    options.add_general(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Evaluate and print."""
    import torch

    import pyedge
    from pyedge.cli import dataset, expected, machine, networks

    machine.check_device(args.device)
    machine.use_threads(args.threads)
    model, info = networks.open_network(args.network, args.model)
    only = names.ids(args.classes or (), info.classes, "--classes")
    data = dataset.load_for(console, args.data, info, of=args.network, splits=args.splits)
    chosen = {"train": data.train, "val": data.val, "test": data.test}
    wanted = list(chosen) if args.part == "all" else [args.part]
    sets = [part for name in wanted if (part := chosen[name]) is not None]
    if not sets:
        raise UsageError(f"--part {args.part}: {args.data} has no such images")
    if args.device != "cpu" and torch.cuda.is_available():
        model = model.cuda()
    batches = (
        batch
        for part in sets
        for batch in dataset.evaluation_loader(part, info.preprocessing) or ()
    )
    found = pyedge.evaluate(model, batches)
    expected.warn_if_far_below(args.network, model, info, found, sets[0])
    parts = {}
    if only:
        shares = found.old_and_new(only)
        parts = {"these": shares["new"], "others": shares["old"], "mean": shares["mean"]}
    what = "all" if args.part == "all" else args.part
    text = f"accuracy {percent(found.accuracy)} of {found.count} images ({what} of {args.data})"
    if only:
        text += (
            f"\n  on {listing([info.classes[i] for i in only])}: {percent(parts['these'])}"
            f"\n  on the others: {percent(parts['others'])}"
        )
    console.result(
        f"{text}\n\n{_table(found, [console.sayable(shown(name)) for name in info.classes])}",
        {
            "command": "evaluate",
            "network": args.network,
            "kind": info.kind,
            "params": sum(p.numel() for p in model.parameters()),
            "part": args.part,
            "classes": info.classes,
            **found.to_dict(),
            "selected": None if not only else {"classes": [info.classes[i] for i in only], **parts},
        },
    )
    return 0


def _table(found: Evaluation, classes: list[str]) -> str:
    from pyedge.cloud.tables import text_table

    rows: list[Any] = []
    for i, name in enumerate(classes):
        counts = found.confusion[i].clone()
        total = int(counts.sum())
        counts[i] = 0
        worst = int(counts.argmax())
        mistaken = f"{classes[worst]} ({int(counts[worst])})" if int(counts[worst]) else ""
        rows.append((name, total, percent(found.per_class[i]), mistaken))
    return text_table(("class", "images", "right", "most often taken for"), rows)
