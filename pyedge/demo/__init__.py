"""The demonstration: the whole main job on real images, in one command.

This module is what the command line reads, so it imports nothing heavy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """\
Train a teacher, cut students out of it, let them learn a new category and recognise categories
that they were never shown, and write the results as a table, report.json and report.html.

Without arguments: scikit-learn's digits (1,797 scans of 8 x 8 pixels), three seeds, a few minutes
on two cores. With --data: CIFAR-10's archives, or any folder or archive of class folders.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pyedge demo`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", default="digits", help='"digits" (default) or a path')
    parser.add_argument(
        "--size", type=int, help="side in pixels to which photographs are resized (default 32)"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="how many runs to average over (default 3)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="folder for the report (default demo)"
    )
    parser.add_argument(
        "--workers", type=int, help="processes at a time (default: one for each processor)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the report as JSON instead of tables"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; returns the exit code."""
    from pyedge.demo.command import run_command

    return run_command(args)
