"""pyedge compress: a student, cut out of a teacher."""

from __future__ import annotations

import argparse
import dataclasses

from pyedge.cli import options, parsing, workers
from pyedge.cli.console import Console, percent
from pyedge.cli.parsing import UsageError

USAGE = "TEACHER DATA --P P --out FILE [options]"

DESCRIPTION = """\
Cut a student out of a teacher, and write it to a file.

In each group of layers one block stays, and in each layer the least idle filters stay; pyedge plan
shows how many for each P. The student inherits their weights. It is not good yet: train it with
pyedge transfer.
"""

EXAMPLES = """\
examples:
  pyedge compress teacher.pt photos --P 0.8 --out student.pt
  pyedge compress teacher.pt photos --max-params 100k --round-to 8 --out student.pt
  pyedge compress teacher.pt photos --P 0.7 --keep last --init fresh --out student.pt
      The paper's wording: the last block of each group, and new weights.
"""


def add_arguments(parser: parsing.Parser) -> None:
    """Add the options of `pyedge compress`."""
    parser.add_argument("network", metavar="TEACHER", help="a file of pyedge train")
    options.add_data(parser)
    options.add_out(parser, "the student")
    options.add_own_code(parser)
    options.add_seed(parser, "which images are measured, and fresh weights")
    options.add_compression(parser, P=None)
    parser.add_argument(
        "--init",
        choices=("inherit", "fresh"),
        default="inherit",
        help="inherit the teacher's weights, or start afresh (default inherit: far better)",
    )
    workers.add_options(parser.add_argument_group("where"), "measure")
    options.add_general(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Compress and write the student."""
    if args.P is None and args.widths is None and not (args.max_params or args.max_macs):
        raise UsageError(
            "say how much to cut: --P 0.8, --max-params 500k, --max-macs 20M or --widths; "
            "pyedge plan shows what they give"
        )
    if args.widths is not None and (args.max_params or args.max_macs):
        raise UsageError("--widths and --max-params or --max-macs exclude each other")
    import pyedge
    from pyedge.cli import dataset, outputs, plan_and_compress
    from pyedge.cloud.network_file import StudentSettings, save_network

    outputs.check_out(args.out, args.network)
    made = plan_and_compress.plan_of(args, console, args.init)
    student = made.plan.build()
    settings = StudentSettings.of(
        made.plan, keep=args.keep, head=args.head, structure=args.structure
    )
    entry = {
        "command": "compress",
        "pyedge": pyedge.__version__,
        "seed": args.seed,
        "P": made.plan.P,
        "init": args.init,
        "params": made.plan.params,
        "ratio": made.plan.ratio,
    }
    val = dataset.evaluation_loader(made.data.val, made.info.preprocessing)
    accuracy = None if val is None else pyedge.evaluate(student, val).accuracy
    info = dataclasses.replace(made.info, student=settings, record=(*made.info.record, entry))
    save_network(args.out, student, info)
    untrained = (
        "" if accuracy is None else f"accuracy before training {percent(accuracy)} (validation)\n"
    )
    console.result(
        f"{made.plan.table()}\n\n{untrained}written to {args.out}",
        {
            "command": "compress",
            "out": args.out,
            **made.plan.to_dict(),
            "keep": args.keep,
            "init": args.init,
            "validation_accuracy_before_training": accuracy,
        },
    )
    return 0
