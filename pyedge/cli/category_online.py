"""The parts of `pyedge category` that talk to a cloud's service."""

from __future__ import annotations

import argparse
import os
import shutil

from pyedge.classes.matching import shown
from pyedge.cli import outputs
from pyedge.cli.cloud_options import cloud_of
from pyedge.cli.console import Console
from pyedge.cli.parsing import existing
from pyedge.files.atomic import write_atomically


def run(args: argparse.Namespace, console: Console) -> int:
    """List, get or offer category files."""
    if args.part == "get":
        outputs.check_out(args.out)
    if args.part == "offer":
        existing(args.file)
    cloud = cloud_of(args)
    assert cloud is not None
    told = {"command": "category", "part": args.part, "student": args.student}
    with cloud:
        if args.part == "list":
            found = cloud.categories(args.student)
            lines = [
                f"{shown(each.name)}: {each.images} images, {each.detail}, {each.bytes:,} bytes"
                for each in found
            ]
            console.result(
                "\n".join(lines or ["no categories"]),
                {**told, "categories": [vars(each) for each in found]},
            )
        elif args.part == "get":
            path = cloud.category(args.name, args.student)
            with path.open("rb") as source:
                write_atomically(args.out, lambda file: shutil.copyfileobj(source, file))
            console.result(
                f"{shown(args.name)}: {os.path.getsize(args.out):,} bytes\nwritten to {args.out}",
                {**told, "class": args.name, "out": args.out},
            )
        else:
            sent = cloud.offer(args.file, args.student)
            why = f" ({sent.reason})" if sent.reason else ""
            console.result(f"{args.file} is {sent.state}{why}", {**told, **vars(sent)})
    return 0
