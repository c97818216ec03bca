"""pyedge category: classes that a device has no images of, and statistics of other devices."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from pyedge.classes.matching import listing, shown
from pyedge.cli import category_online, cloud_options, options, outputs, parsing
from pyedge.cli.console import Console
from pyedge.cli.parsing import existing

if TYPE_CHECKING:
    from pyedge.edge.learner import EdgeLearner
    from pyedge.statistics.sums import Statistics

USAGE = "make|add|show|forget|sums|merge|list|get|offer ..."

DESCRIPTION = """\
Teach a device classes that it has no images of, and add up what several devices have seen.

A category file holds what one class adds to the statistics of a student: a few kB. It fits every
student with the same weights before the classifier. This needs no torch.

pyedge category PART --help explains a part; all parts take --json and --quiet.
"""

EXAMPLES = """\
examples:
  pyedge category make student.pyedge photos/mug --name mug --out mug.category
  pyedge category make student.pyedge photos/mug --name mug --detail low_rank --out mug.category
  pyedge category add student.pyedge mug.category cup.category --out taught.pyedge
  pyedge category show mug.category
  pyedge category forget taught.pyedge mug --out student.pyedge
  pyedge category sums taught.pyedge --since student.pyedge --out mine.sums
      Only what this device has learned since, to send it without the student.
  pyedge category merge student.pyedge mine.sums theirs.sums --out all.pyedge
  pyedge category list signs --cloud https://cloud.example:8765
  pyedge category get signs mug --cloud https://cloud.example:8765 --out mug.category
  pyedge category offer signs mug.category --cloud https://cloud.example:8765
      What other devices offer for the student called signs, and an offer to them.
"""

_STUDENT = "a student with statistics (.pyedge)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of each part of `pyedge category`."""
    parts = parser.add_subparsers(
        dest="part", required=True, metavar="PART", title="parts", prog="pyedge category"
    )
    make = _part(parts, "make", "write a category file from images of one class")
    make.add_argument("student", metavar="STUDENT", help="a student (.pyedge)")
    make.add_argument("images", metavar="IMAGES", nargs="+", help="images, as for pyedge predict")
    make.add_argument("--name", required=True, help="the name of the class (required)")
    make.add_argument(
        "--detail",
        choices=("mean", "low_rank", "full"),
        default="mean",
        help="how much is written: the mean (default), also the main directions of the spread, or "
        "all second moments",
    )
    make.add_argument(
        "--rank",
        type=parsing.whole(1),
        metavar="N",
        help="directions of the spread, for --detail low_rank (default 32)",
    )
    options.add_out(make, "the category file")
    add = _part(parts, "add", "teach a student the classes of category files")
    add.add_argument("student", metavar="STUDENT", help=_STUDENT)
    add.add_argument("files", metavar="FILE", nargs="+", help="files of pyedge category make")
    add.add_argument("--name", help="the name of the file's class on this device")
    options.add_out(add, "the taught student")
    show = _part(parts, "show", "show what a category file holds")
    show.add_argument("file", metavar="FILE", help="a file of pyedge category make")
    forget = _part(parts, "forget", "remove a class from a student")
    forget.add_argument("student", metavar="STUDENT", help=_STUDENT)
    forget.add_argument("name", metavar="NAME", help="the class")
    options.add_out(forget, "the student without it")
    sums = _part(parts, "sums", "write only the statistics of a student")
    sums.add_argument("student", metavar="STUDENT", help=_STUDENT)
    sums.add_argument(
        "--since",
        metavar="BEFORE",
        help="an earlier state of the student: write only what came after it",
    )
    options.add_out(sums, "the statistics file")
    merge = _part(parts, "merge", "add statistics of other devices to a student")
    merge.add_argument("student", metavar="STUDENT", help=_STUDENT)
    merge.add_argument("files", metavar="SUMS", nargs="+", help="files of pyedge category sums")
    options.add_out(merge, "the merged student")
    listed = _part(parts, "list", "list the category files that a service has")
    listed.add_argument("student", metavar="STUDENT", help="its name on the service")
    get = _part(parts, "get", "download a category file from a service")
    get.add_argument("student", metavar="STUDENT", help="its name on the service")
    get.add_argument("name", metavar="NAME", help="the class")
    options.add_out(get, "the category file")
    offer = _part(parts, "offer", "offer a category file to all devices of a service")
    offer.add_argument("student", metavar="STUDENT", help="its name on the service")
    offer.add_argument("file", metavar="FILE", help="a file of pyedge category make")
    for each in (listed, get, offer):
        cloud_options.add_options(each, required=True)
    for each in (make, add, show, forget, sums, merge, listed, get, offer):
        options.add_output(each)


def _part(parts: Any, name: str, what: str) -> argparse.ArgumentParser:
    description = f"{what[0].upper()}{what[1:]}. pyedge category --help has examples."
    found: argparse.ArgumentParser = parts.add_parser(name, help=what, description=description)
    return found


def run(args: argparse.Namespace, console: Console) -> int:
    """Run a part."""
    console.prog += f" {args.part}"
    if args.part in ("list", "get", "offer"):
        return category_online.run(args, console)
    parts = {"make": _make, "add": _add, "show": _show, "forget": _forget, "sums": _sums}
    return parts.get(args.part, _merge)(args, console)


def _make(args: argparse.Namespace, console: Console) -> int:
    if args.rank is not None and args.detail != "low_rank":
        raise parsing.UsageError("--rank has a meaning only for --detail low_rank")
    existing(args.student)
    outputs.check_out(args.out, args.student)
    from pyedge.cli.device_images import named_images
    from pyedge.edge.category_making import make_category
    from pyedge.student.archive import read_student

    student = read_student(args.student)
    _, images = named_images(args.images, student.input_shape, student.preprocessing)
    more = {} if args.rank is None else {"rank": args.rank}
    found = make_category(student, images, args.name, args.out, detail=args.detail, **more)
    size = os.path.getsize(args.out)
    console.result(
        f"{shown(args.name)}: {len(images)} images, {size:,} bytes\nwritten to {args.out}",
        {**_described(args, found), "detail": args.detail, "bytes": size, "out": args.out},
    )
    return 0


def _show(args: argparse.Namespace, console: Console) -> int:
    existing(args.file)
    from pyedge.statistics.category_file import read_whole

    found = read_whole(args.file)
    size, sums = os.path.getsize(args.file), found.statistics
    console.result(
        f"{shown(sums.classes[0])}: {int(sums.counts[0])} images, {sums.features} features, "
        f"{found.detail}, {size:,} bytes\nof the features {sums.digest}",
        {**_described(args, sums), "detail": found.detail, "bytes": size, "digest": sums.digest},
    )
    return 0


def _add(args: argparse.Namespace, console: Console) -> int:
    if args.name is not None and len(args.files) > 1:
        raise parsing.UsageError(f"--name is for one file, there are {len(args.files)}")
    learner = _learner(args, *args.files)
    before = learner.classes
    for path in args.files:
        learner.add_category(path, name=args.name)
    return _saved(args, console, learner, before)


def _forget(args: argparse.Namespace, console: Console) -> int:
    learner = _learner(args)
    before = learner.classes
    learner.forget(args.name)
    return _saved(args, console, learner, before)


def _merge(args: argparse.Namespace, console: Console) -> int:
    learner = _learner(args, *args.files)
    before = learner.classes
    learner.merge(args.files)
    return _saved(args, console, learner, before)


def _sums(args: argparse.Namespace, console: Console) -> int:
    for path in (args.student, args.since):
        if path is not None:
            existing(path)
    outputs.check_out(args.out, args.student, args.since)
    from pyedge.edge.solving import check_fresh
    from pyedge.statistics.merging import subtract_statistics
    from pyedge.statistics.statistics_file import write_statistics
    from pyedge.student.archive import read_student

    found = check_fresh(read_student(args.student), args.student)
    if args.since is not None:
        found = subtract_statistics(found, check_fresh(read_student(args.since), args.since))
    if not found.classes:
        raise parsing.UsageError(f"{args.student} has learned nothing since {args.since}")
    write_statistics(found, args.out)
    size = os.path.getsize(args.out)
    console.result(
        f"{int(found.counts.sum())} images of {listing(found.classes)}, {size:,} bytes\n"
        f"written to {args.out}",
        {**_described(args, found), "bytes": size, "out": args.out},
    )
    return 0


def _learner(args: argparse.Namespace, *others: str) -> EdgeLearner:
    for path in (args.student, *others):
        existing(path)
    outputs.check_out(args.out, *others)
    from pyedge.edge.learner import EdgeLearner

    return EdgeLearner(args.student)


def _saved(
    args: argparse.Namespace, console: Console, learner: EdgeLearner, before: tuple[str, ...]
) -> int:
    learner.save(args.out)
    known = learner.statistics
    assert known is not None
    added = [name for name in learner.classes if name not in before]
    gone = [name for name in before if name not in learner.classes]
    changes = [f"new: {listing(added)}"] * bool(added) + [f"gone: {listing(gone)}"] * bool(gone)
    console.result(
        "; ".join([f"{len(learner.classes)} classes", *changes]) + f"\nwritten to {args.out}",
        {
            **_described(args, known),
            "classes": learner.classes,
            "added": added,
            "gone": gone,
            "out": args.out,
        },
    )
    return 0


def _described(args: argparse.Namespace, statistics: Statistics) -> dict[str, Any]:
    counts = dict(zip(statistics.classes, statistics.counts.tolist(), strict=True))
    return {
        "command": "category",
        "part": args.part,
        "images": counts,
        "features": statistics.features,
    }
