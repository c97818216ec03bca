"""pyedge predict: what a student takes images for, with numpy alone (and Pillow)."""

from __future__ import annotations

import argparse

from pyedge.class_matching import shown
from pyedge.cli import options, parsing
from pyedge.cli.console import Console, percent
from pyedge.cli.parsing import UsageError, existing

USAGE = "STUDENT IMAGE [IMAGE ...] [options]"

DESCRIPTION = """\
Tell what a student takes images for, and how sure it is. This needs no torch.

A student always answers with one of its classes, also for images of something else.
"""

EXAMPLES = """\
examples:
  pyedge predict taught.pyedge mug.jpg cup.jpg
  pyedge predict taught.pyedge holiday --top 3
      All images below a folder, with the three likeliest classes of each.
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
        help="tell the N likeliest classes (default 1)",
    )
    options.add_batch_size(parser)
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

    learner = EdgeLearner(args.student, threads=args.threads)
    names, images = named_images(args.images, learner.input_shape)
    ids, probabilities = learner.predict(images, batch_size=args.batch_size)
    said = [console.sayable(name) for name in names]
    columns = max(map(width, said))
    lines, answers = [], []
    for name, text, best, shares in zip(names, said, ids, probabilities, strict=True):
        order = (-shares).argsort(kind="stable")[: args.top]
        told = ", ".join(f"{shown(learner.classes[i])} {percent(float(shares[i]))}" for i in order)
        lines.append(f"{padded(text, columns)}  {told}")
        answers.append(
            {
                "image": name,
                "id": int(best),
                "class": learner.classes[best],
                "probability": float(shares[best]),
                "probabilities": shares.tolist(),
            }
        )
    console.result(
        "\n".join(lines),
        {
            "command": "predict",
            "student": args.student,
            "classes": learner.classes,
            "images": answers,
        },
    )
    return 0
