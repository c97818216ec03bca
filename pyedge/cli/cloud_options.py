"""The options of commands that talk to a cloud's service, and the Cloud that they mean."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyedge.cli import parsing
from pyedge.cli.parsing import UsageError

if TYPE_CHECKING:
    from pyedge.remote.cloud import Cloud

_FIELDS = ("cloud_folder", "ca", "plain")


def add_options(group: argparse._ActionsContainer, *, required: bool = False) -> None:
    """Add --cloud and what goes with it; the token comes from the environment."""
    group.add_argument(
        "--cloud",
        metavar="URL",
        required=required,
        help="the service of pyedge serve, https://HOST:PORT; its token is PYEDGE_TOKEN in the "
        "environment, which other users of the machine cannot see",
    )
    group.add_argument(
        "--cloud-folder",
        metavar="DIR",
        help="where downloads and what is to be sent are kept (default ~/.local/state/pyedge/...)",
    )
    group.add_argument("--ca", metavar="FILE", help="certificates to trust (PEM)")
    group.add_argument(
        "--plain", action="store_true", help="take http:// to other machines, without secrecy"
    )
    group.add_argument(
        "--timeout",
        type=parsing.number(0, above=True),
        default=20.0,
        metavar="S",
        help="seconds without a byte from the service (default 20)",
    )


def cloud_of(args: argparse.Namespace) -> Cloud | None:
    """Return the service that is meant, or None; UsageError for options without --cloud."""
    if args.cloud is None:
        alone = [name for name in _FIELDS if getattr(args, name)]
        if alone:
            raise UsageError(f"--{alone[0].replace('_', '-')} has a meaning only with --cloud")
        return None
    if args.ca is not None:
        parsing.existing(args.ca)
    from pyedge.remote.cloud import Cloud

    return Cloud(
        args.cloud,
        folder=args.cloud_folder,
        ca=args.ca,
        plain=args.plain,
        timeout=args.timeout,
    )
