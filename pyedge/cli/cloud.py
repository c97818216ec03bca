"""pyedge cloud: what the owner of a service has it learn."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyedge.cli import options, parsing
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError

if TYPE_CHECKING:
    from pyedge.cloud.network_file import NetworkInfo
    from pyedge.data import ImageSet

USAGE = "retrain NAME --store DIR [options]"

DESCRIPTION = """\
Make a student's next version from the images that devices gave, with consent, to the service.

Its teacher learns on, with new classes where images have some; the student is cut out of it to the
widths of the one before, learns from it, and goes into the store with its statistics and a
catalogue of category files, under the next name: signs-2 after signs. Devices that list the
students are told that it replaces the other; the old one stays, for those that have it.
A run that was interrupted goes on from its last epoch when the same command is given again.
"""

EXAMPLES = """\
examples:
  pyedge cloud retrain signs --store store --data photos
      --data has the images that the teacher learned from: without images of them, old classes
      would be forgotten.
  pyedge cloud retrain signs --store store --data photos --epochs 30 --lr 0.005
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of retraining."""
    parser.add_argument("what", metavar="retrain", choices=("retrain",), help="the only part")
    parser.add_argument("name", metavar="NAME", help="the student, as the service calls it")
    parser.add_argument("--store", metavar="DIR", help="the service's folder (required)")
    parser.add_argument(
        "--database", metavar="URL", help="of SQLAlchemy, instead of SQLite in the store"
    )
    parser.add_argument("--data", metavar="DATA", help=f"the owner's images: {options.DATA}")
    options.add_splits(parser)
    how = parser.add_argument_group("training")
    for name, default, what in (
        ("--epochs", 10, "of the teacher"),
        ("--transfer-epochs", 10, "of the student"),
    ):
        how.add_argument(
            name,
            type=parsing.whole(1),
            default=default,
            metavar="N",
            help=f"{what} (default {default})",
        )
    for name, rate, what in (
        ("--lr", 0.01, "the teacher's learning rate"),
        ("--transfer-lr", 0.1, "the student's"),
    ):
        how.add_argument(
            name,
            type=parsing.number(0, above=True),
            default=rate,
            metavar="X",
            help=f"{what} (default {rate:g})",
        )
    options.add_batch_size(how)
    options.add_seed(how, "new weights and the order of images")
    options.add_general(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Retrain, and say what was made."""
    if args.store is None:
        raise UsageError("missing: --store DIR, the service's folder")
    if args.data not in (None, "digits"):
        parsing.existing(args.data, "digits")
    if not (Path(args.store) / "blobs").is_dir():
        raise UsageError(f"{args.store}: no store with students")
    from pyedge.classes.matching import listing
    from pyedge.cli import machine
    from pyedge.cloud.network_file import read_network
    from pyedge.serve.retraining import Settings, retrain
    from pyedge.serve.store import Store
    from pyedge.serve.students import Students

    machine.check_device(args.device)
    machine.use_threads(args.threads)
    given = ("epochs", "lr", "transfer_epochs", "transfer_lr", "batch_size", "seed")
    settings = Settings(**{each: getattr(args, each) for each in given}, accelerator=args.device)
    store = Store(args.store, args.database)
    try:
        names = Students(store).names()
        if args.name not in names:
            raise UsageError(f"{args.name}: the store has {', '.join(names) or 'no students'}")
        own: list[ImageSet] = []
        teacher = Students(store).row(args.name).teacher
        if args.data is not None and teacher is not None:
            own = _own(args, console, read_network(teacher)[0])
        made = retrain(store, args.name, own, settings)
    finally:
        store.close()
    release = made.release
    if made.resumed:
        console.note("note: went on from a run that was interrupted")
    console.result(
        f"{release.name} replaces {args.name}: {len(release.classes)} classes"
        f"{f', new: {listing(made.added)}' if made.added else ''}; learned from {made.images} "
        f"images, {made.given} of them given\n"
        f"right on held images: teacher {made.teacher_accuracy:.1%}, student "
        f"{made.student_accuracy:.1%}",
        _content(args, made),
    )
    return 0


def _own(args: argparse.Namespace, console: Console, info: NetworkInfo) -> list[ImageSet]:
    """Load the owner's images; those for tests stay aside, as everywhere."""
    from pyedge.cli import dataset

    _, h, w = info.input_shape
    size = info.preprocessing.resize or (h if h == w else None)
    data = dataset.load(
        console, args.data, size, info.split_seed, args.splits, info.preprocessing.colour
    )
    return [part for part in (data.train, data.val) if part is not None]


def _content(args: argparse.Namespace, made: Any) -> dict[str, Any]:
    told = dict(vars(made))
    release = told.pop("release")
    return {
        "command": "cloud",
        "what": args.what,
        "name": release.name,
        "replaces": release.replaces,
        "classes": list(release.classes),
        **told,
    }
