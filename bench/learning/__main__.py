"""The command: `python -m bench.learning --data cifar10 --protocol 9+1 --json`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from bench.learning import images, protocols, teachers
from bench.learning.recorded import Recorded
from bench.learning.registry import METHODS
from bench.learning.report import text
from bench.learning.run import Asked, table
from bench.shared.arguments import positive
from bench.shared.timing import machine
from pyedge import kernels

_PER_CLASS = 1000


def main() -> int:
    """Make the students that are not there, run every method, print the figures."""
    parser = _parser()
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    kernels.set_num_threads(args.threads)
    facts = machine(torch)
    try:
        recorded = Recorded(args.into, facts) if args.into else None
    except ValueError as error:
        parser.error(str(error))
    rows = []
    for protocol in [args.protocol] if args.protocol else protocols.NAMES:
        asked = Asked(
            data=args.data,
            protocol=protocol,
            seeds=args.seeds,
            cache=args.cache,
            archive=args.images,
            teacher=args.teacher,
            per_class=args.per_class,
        )
        chosen = {
            name: METHODS[name]
            for name in args.methods
            if not (recorded and recorded.has(args.data, protocol, name, len(args.seeds)))
        }
        found = []
        for row in table(asked, chosen, _say):
            found.append(row)
            if recorded:
                recorded.add(row)
        if recorded:
            found = [
                row
                for row in recorded.rows
                if (row["data"], row["protocol"]) == (args.data, protocol)
            ]
        rows += found
        if not args.json:
            print(text(found), flush=True)
    if args.json:
        print(json.dumps({"machine": facts, "rows": rows}, indent=1))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.learning", description=__doc__)
    parser.add_argument("--data", choices=images.DATA, required=True)
    parser.add_argument("--protocol", choices=protocols.NAMES, help="both if left out")
    parser.add_argument("--seeds", type=_seeds, default=(0, 1, 2), help="for example 0,1,2")
    parser.add_argument(
        "--methods", type=_methods, default=tuple(METHODS),
        help=f"separated by semicolons: {'; '.join(METHODS)}",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, default=Path("build/learning"))
    parser.add_argument("--images", type=Path, help="the archive; default: in ../shared/data")
    parser.add_argument(
        "--teacher", type=Path, default=teachers.DEFAULT_FOLDER / "resnet56_cifar10.pt"
    )
    parser.add_argument(
        "--per-class", type=positive, default=_PER_CLASS,
        help="training images a class that the device sees, at most",
    )  # fmt: skip
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument(
        "--into", type=Path,
        help="a file of rows: what it has is not run again, and each new row is written as it is "
        "made; the whole of it is printed",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true")
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(int(each) for each in text.split(","))
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"must be different numbers from 0, got {text!r}")
    return seeds


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(each.strip() for each in text.split(";"))
    for name in names:
        if name not in METHODS:
            raise argparse.ArgumentTypeError(
                f"there is no method {name!r}; there are {'; '.join(METHODS)}"
            )
    return names


if __name__ == "__main__":
    raise SystemExit(main())
