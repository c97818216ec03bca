"""Which processes a command computes in: its own, or many of Ray's."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

from pyedge.cli import parsing
from pyedge.cli.parsing import UsageError

ENGINES = ("single", "ray")


def add_engine(parser: argparse._ActionsContainer, what: str) -> None:
    """Add --engine; `what` says what Ray does."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="single",
        help=f'single: this process (default); ray: {what} (pip install "pyedge[ray]")',
    )


def add_options(parser: argparse._ActionsContainer, what: str) -> None:
    """Add --engine and --workers; `what` is the work that is spread."""
    add_engine(parser, f"{what} in many processes, on this machine or the cluster of RAY_ADDRESS")
    parser.add_argument(
        "--workers",
        type=parsing.whole(1),
        metavar="N",
        help="processes of --engine ray, with one CPU each (default: one for each CPU here)",
    )


def number(args: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of workers, or None for this process; UsageError without sense."""
    if args.engine == "single":
        if args.workers is not None:
            raise UsageError("--workers needs --engine ray")
        return None
    threads: Any = getattr(args, "threads", None)
    if threads is not None:
        raise UsageError("--threads has no meaning for --engine ray, whose workers have one CPU")
    if args.workers is None and environment.get("RAY_ADDRESS"):
        raise UsageError("missing: --workers N, of the cluster that RAY_ADDRESS names")
    from pyedge.cloud.jobs.cluster import need_ray

    need_ray("--engine ray")
    return args.workers or os.cpu_count() or 1


def send_own_code() -> None:
    """Have the code of --model FILE.py sent to the workers, who cannot import it."""
    from pyedge.cli.networks import OWN
    from pyedge.cloud.jobs.cluster import need_ray

    sent = need_ray("--engine ray").cloudpickle
    for name, module in list(sys.modules.items()):
        if name.startswith(OWN):
            sent.register_pickle_by_value(module)
