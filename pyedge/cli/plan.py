"""pyedge plan: what a compression would give, before anything is cut."""

from __future__ import annotations

import argparse
from typing import Any

from pyedge.cli import options, parsing, workers
from pyedge.cli.console import Console
from pyedge.files.atomic import check_folder

USAGE = "TEACHER DATA [options]"

DESCRIPTION = """\
Measure which filters of a teacher are idle, and print what a student would look like.

The teacher sees some of your images once. A filter whose output is zero nearly everywhere can go;
--P is the least share of zeros for that. The tables show how many filters stay in each layer, and
what other choices of P would give. Only the pictures that you ask for are written.
"""

EXAMPLES = """\
examples:
  pyedge plan teacher.pt photos
      The widths for P = 0.8, and what P = 1.0, 0.9, 0.8, 0.7 cost.
  pyedge plan teacher.pt photos --max-params 100k --max-macs 20M
      The widest student that fits, and its P.
  pyedge plan teacher.pt photos --P 0.7 --pictures pictures
      Also write PNG files: every filter's zeros, size against P, the activation maps of an image.
"""


def add_arguments(parser: parsing.Parser) -> None:
    """Add the options of `pyedge plan`."""
    parser.add_argument("network", metavar="TEACHER", help="a file of pyedge train")
    options.add_data(parser)
    parser.add_argument(
        "--thresholds",
        type=parsing.listed(parsing.number(0, 1)),
        default=[1.0, 0.9, 0.8, 0.7],
        metavar="LIST",
        help="values of P to compare (default 1.0,0.9,0.8,0.7)",
    )
    parser.add_argument("--pictures", metavar="DIR", help="write pictures of the plan there")
    options.add_own_code(parser)
    options.add_seed(parser, "which images are measured")
    options.add_compression(parser, P=0.8)
    workers.add_options(parser.add_argument_group("where"), "measure")
    options.add_general(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the plan and write the pictures."""
    from pyedge.cli import plan_and_compress
    from pyedge.cloud.compression.report import save_pictures
    from pyedge.cloud.tables import text_table

    if args.pictures is not None:
        try:
            check_folder(args.pictures)
        except OSError as error:
            raise parsing.UsageError(
                f"--pictures {args.pictures}: {error.filename} {error.strerror}"
            ) from error
    free = args.max_params is None and args.max_macs is None and args.widths is None
    if args.P is None and free:
        args.P = 0.8
    made = plan_and_compress.plan_of(args, console)
    choices = [made.plan.at(P) for P in args.thresholds]
    rows: list[Any] = [
        (
            f"{each.P:g}",
            f"{each.params:,}",
            f"{each.ratio:.1f}x",
            f"{each.macs:,}",
            f"{each.teacher.macs / each.macs:.1f}x",
        )
        for each in choices
    ]
    table = text_table(("P", "parameters", "smaller", "MACs", "fewer"), rows)
    paths = []
    if args.pictures is not None:
        paths = save_pictures(made.plan, args.pictures, made.picture)
    written = "".join(f"\nwritten: {path}" for path in paths)
    console.result(
        f"{made.plan.table()}\n\nother values of P:\n{table}{written}",
        {
            "command": "plan",
            **made.plan.to_dict(),
            "thresholds": [
                {"P": each.P, "params": each.params, "macs": each.macs, "ratio": each.ratio}
                for each in choices
            ],
            "pictures": [str(path) for path in paths],
        },
    )
    return 0
