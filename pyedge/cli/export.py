"""pyedge export: a student as a file for devices, where numpy alone is installed."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pyedge.cli import options, parsing
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError

if TYPE_CHECKING:
    from pyedge.cloud.compression.student import Student

USAGE = "STUDENT --out FILE [options]"

DESCRIPTION = """\
Write a student as a file for devices.

A device needs this file and numpy, but not torch, to use the student and to teach it more. The
device's arithmetic is compared with torch's before the file is written.
"""

EXAMPLES = """\
examples:
  pyedge export trained.pt --out student.pyedge
  pyedge export trained.pt --trainable classifier --out student.pyedge
      On the device the classifier alone learns, if nothing else is asked for there.
  pyedge export trained.pt --format onnx --out student.onnx
      To predict with other engines; such a file cannot learn.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pyedge export`."""
    parser.add_argument("network", metavar="STUDENT", help="a file of pyedge compress or transfer")
    options.add_out(parser, "the student (.pyedge)")
    parser.add_argument(
        "--trainable",
        type=parsing.listed(str),
        metavar="WHAT",
        help="what learns on the device: last_conv (default: the last convolution of each group "
        "and the classifier), classifier, all, or names of layers",
    )
    parser.add_argument(
        "--preprocessing",
        choices=("image", "none"),
        help="what the device makes of pixels: image (each image standardised, as the commands of "
        "pyedge train) or none (over 255); default: as the student's images were",
    )
    parser.add_argument(
        "--format",
        choices=("pyedge", "onnx"),
        default="pyedge",
        help="pyedge (default), or onnx: for inference elsewhere, of images that are standardised "
        "already",
    )
    options.add_own_code(parser)
    options.add_output(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Export, and tell what the file holds."""
    if args.format == "onnx" and args.trainable is not None:
        raise UsageError("--trainable has no meaning for --format onnx, whose files cannot learn")
    if args.format == "onnx" and args.preprocessing is not None:
        raise UsageError(
            "--preprocessing has no meaning for --format onnx, whose files take preprocessed images"
        )
    from pyedge.cli import networks
    from pyedge.cli.outputs import check_out
    from pyedge.cloud.compression.student import Student
    from pyedge.cloud.exporting.export import export
    from pyedge.edge.doubts import wanted

    check_out(args.out, args.network)
    student, info = networks.open_network(args.network, args.model, "student")
    assert isinstance(student, Student)  # open_network refuses any other kind
    given = args.trainable or ["last_conv"]
    alone = len(given) == 1 and given[0] in ("last_conv", "classifier", "all")
    file = export(
        student,
        args.out,
        classes=info.classes,
        preprocessing=args.preprocessing or _preprocessing(student),
        trainable=given[0] if alone else given,
        input_shape=info.input_shape,
        record=info.record,
        format=args.format,
    )
    content = {
        "command": "export",
        "out": args.out,
        "format": args.format,
        "bytes": os.path.getsize(args.out),
    }
    if file is None:
        console.result(f"written to {args.out}", content)
        return 0
    check = file.record[-1]
    smooth = check.get("gradient_error_without_kinks")
    kinks = "" if smooth is None else f" ({smooth:.0e} but for activations at a kink of a ReLU)"
    console.result(
        f"{file.params:,} parameters, {len(file.classes)} classes\n"
        f"images: {wanted(file.preprocessing)}\n"
        f"learns on the device: {', '.join(file.trainable)}\n"
        f"beside torch in float64, logits differ by {check['logits_error']:.0e} and gradients by "
        f"{check['gradient_error']:.0e} of their norm{kinks}\nwritten to {args.out}",
        {
            **content,
            "params": file.params,
            "preprocessing": file.preprocessing["kind"],
            "classes": list(file.classes),
            "trainable": list(file.trainable),
            "logits_error": check["logits_error"],
            "gradient_error": check["gradient_error"],
        },
    )
    return 0


def _preprocessing(student: Student) -> str | None:
    """Return the one that a network file knows where its images are not known, else None."""
    from pyedge.cloud.shown import shown_to

    return "image" if shown_to(student) is None else None
