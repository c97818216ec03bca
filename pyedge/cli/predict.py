"""pyedge predict: which classes a student sees in images, with only numpy (and Pillow)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyedge.classes.matching import shown
from pyedge.cli import options, parsing
from pyedge.cli.console import Console, percent
from pyedge.cli.parsing import UsageError, existing

if TYPE_CHECKING:
    from pyedge.edge.learner import EdgeLearner

USAGE = "STUDENT IMAGE [IMAGE ...] [options]"

DESCRIPTION = """\
Tell which classes a student sees in images, and how sure it is. This needs no torch.

A student always answers with one of its classes, even for images of something else. With --unknown
it also tells which images are unlike anything that it knows, if its file has statistics.
"""

EXAMPLES = """\
examples:
  pyedge predict taught.pyedge mug.jpg cup.jpg
  pyedge predict taught.pyedge holiday --top 3
      All images below a folder, with the three likeliest classes of each.
  pyedge predict taught.pyedge holiday --unknown
      Each image is "known" or "unknown": its distance from all known classes, and the threshold,
      which 95 % of known images do not exceed.
  pyedge predict taught.pyedge holiday --json
      One JSON object with the probabilities of all classes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pyedge predict`."""
    parser.add_argument("student", metavar="STUDENT", help="a file of pyedge export or learn")
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="image files, folders or archives (.zip, .tar) of them, or arrays (.npy)",
    )
    parser.add_argument(
        "--top",
        type=parsing.whole(1),
        default=1,
        metavar="N",
        help="show the N likeliest classes (default 1)",
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help="tell which images show nothing known; needs statistics in the file (pyedge export "
        "--statistics, or pyedge learn --method statistics)",
    )
    options.add_batch_size(parser)
    options.add_precision(parser)
    options.add_general(parser, device=False)


def run(args: argparse.Namespace, console: Console) -> int:
    """Predict and print."""
    if args.student.endswith(".pt"):
        raise UsageError(
            f"{args.student} is a network file; pyedge export makes a student file (.pyedge) of it"
        )
    existing(args.student)
    from pyedge.cli.device_images import named_images
    from pyedge.cloud.tables import padded, width  # plain Python, no torch
    from pyedge.edge.learner import EdgeLearner

    learner = EdgeLearner(args.student, threads=args.threads, precision=args.precision)
    if args.unknown:
        _check_unknown(args.student, learner)
    names, images = named_images(args.images, learner.input_shape, learner.student.preprocessing)
    threshold = learner.student.head.get("threshold")
    opened = (
        learner.predict(images, batch_size=args.batch_size, unknown=True) if args.unknown else None
    )
    found = opened or learner.predict(images, batch_size=args.batch_size)
    said = [console.sayable(name) for name in names]
    columns = max(map(width, said))
    lines, answers = [], []
    for i, (name, text) in enumerate(zip(names, said, strict=True)):
        best, shares = found.ids[i], found.probabilities[i]
        order = (-shares).argsort(kind="stable")[: args.top]
        told = ", ".join(f"{shown(learner.classes[k])} {percent(float(shares[k]))}" for k in order)
        answer = {
            "image": name,
            "id": int(best),
            "class": learner.classes[best],
            "probability": float(shares[best]),
            "probabilities": shares.tolist(),
        }
        state = ""
        if opened is not None:
            distance, unknown = float(opened.distances[i]), bool(opened.unknown[i])
            state = "unknown" if unknown else "known  "
            state = f"{state}  distance {distance:.1f} of {threshold:.1f}  "
            answer |= {"unknown": unknown, "distance": distance}
        lines.append(f"{padded(text, columns)}  {state}{told}")
        answers.append(answer)
    console.result(
        "\n".join(lines),
        {
            "command": "predict",
            "student": args.student,
            "classes": learner.classes,
            **({"threshold": threshold} if args.unknown else {}),
            "images": answers,
        },
    )
    return 0


def _check_unknown(path: str, learner: EdgeLearner) -> None:
    """Refuse --unknown, before images are read, if the student cannot tell."""
    from pyedge.student.features import features_digest

    student = learner.student
    if student.statistics is None:
        raise UsageError(
            f"--unknown: {path} has no statistics; pyedge export --statistics, or pyedge learn "
            "--method statistics, puts some into a file"
        )
    if student.statistics.digest != features_digest(student):
        raise UsageError(f"--unknown: the statistics of {path} are of other features than it has")
    if "threshold" not in student.head:
        raise UsageError(
            f"--unknown: the statistics of {path} are of too few images to tell what is unknown"
        )
