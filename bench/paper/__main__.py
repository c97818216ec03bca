"""The command: `python -m bench.paper table1 --scale smoke`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from bench import paper
from bench.paper.worlds import SCALES
from bench.shared.arguments import positive

TABLES = {
    "table1": "what compression costs, by data set and threshold",
    "table2": "compressed students beside pruning by L1 norm and quantization",
    "table3": "steps until a student has converged",
    "table4": "nine classes and a new one, CIFAR-10",
    "table5": "nine classes and a new one, ImageNet",
    "table6": "seconds and memory of learning a class on the engine",
    "table7": "classes that a student never saw",
    "figure1": "activation maps of the first convolution",
}
UNFINISHED = 3  # the exit status of a slice that is over before the table is finished
_CACHE = Path("build/paper")
_RESULTS = Path("bench/results/paper")


def main(arguments: list[str] | None = None) -> int:
    """Run a table, or render all recorded ones."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.command == "report":
        from bench.paper.report.write import write_report

        for path in write_report(args.into, args.markdown, args.html, args.scales):
            print(path)
        return 0
    return _table(args)


def _table(args: argparse.Namespace) -> int:
    import torch

    from bench.paper.results import Results, commit
    from bench.paper.rows import Workshops
    from bench.paper.slices import Slice, SliceEndError
    from bench.shared.timing import machine
    from pyedge import kernels

    torch.set_num_threads(args.threads)
    kernels.set_num_threads(args.threads)
    command = f"python -m bench.paper {args.command} --scale {args.scale}"
    facts = machine(torch)
    facts.pop("load_average_before", None)  # it would make an origin of each run
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    origin = {"command": command, "commit": commit(), "machine": facts}
    results = Results(args.into, args.command, args.scale, origin)
    slice_ = Slice(args.stop_after)
    shops = Workshops(args.scale, args.cache, args.data, args.teachers, slice_, _say)
    rows = import_module(f"bench.paper.{args.command}").rows(shops)
    chosen = [
        row
        for row in rows
        if (not args.groups or row.group in args.groups)
        and (not args.rows or any(part in row.name for part in args.rows))
    ]
    if not chosen:
        groups = ", ".join(dict.fromkeys(row.group for row in rows))
        named = "; ".join(dict.fromkeys(row.name for row in rows))
        _say(f"{args.command}: no such row; groups: {groups}; rows: {named}")
        return 2
    try:
        for seed in args.seeds:
            for row in chosen:
                if (row.once and seed != args.seeds[0]) or results.has(row.group, row.name, seed):
                    continue
                slice_.check()
                figures = row.figures(seed)
                data = shops.of(row.group).digest
                results.add(row.group, row.name, seed, figures, ours=row.ours, data=data)
                print(f"{row.group}, {row.name}, seed {seed}: {_short(figures)}", flush=True)
    except SliceEndError:
        _say(f"the slice is over; the same command goes on from here ({results.path})")
        return UNFINISHED
    told = "is finished" if chosen == rows else "has these rows"
    _say(f"{args.command} {told}: {results.path}")
    return 0


def _short(figures: dict[str, object]) -> str:
    plain = {k: v for k, v in figures.items() if isinstance(v, (int, float, str))}
    return ", ".join(f"{name} {value}" for name, value in plain.items())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.paper",
        description=paper.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, told in TABLES.items():
        table = commands.add_parser(name, help=told, description=told)
        table.add_argument("--scale", choices=SCALES, default="smoke")
        table.add_argument("--seeds", type=_seeds, default=(0, 1, 2), help="for example 0,1,2")
        table.add_argument(
            "--groups", type=lambda text: text.split(","), metavar="NAMES",
            help="only rows of these worlds: cifar, wrn, imagenet, caltech",
        )  # fmt: skip
        table.add_argument(
            "--rows", type=lambda text: text.split(","), metavar="PARTS",
            help='only rows whose name has one of these in it, such as "ResNet 1,teacher"',
        )  # fmt: skip
        table.add_argument(
            "--stop-after", type=float, metavar="SECONDS",
            help=f"stop at the first checkpoint after so long, with status {UNFINISHED} if there "
            "is more to do",
        )  # fmt: skip
        table.add_argument(
            "--resume", action="store_true",
            help="what happens anyway: what lies in --cache and --into is not made again",
        )  # fmt: skip
        table.add_argument("--cache", type=Path, default=_CACHE, help="for networks and images")
        table.add_argument("--into", type=Path, default=_RESULTS, help="for recorded figures")
        table.add_argument("--data", type=Path, default=Path("../shared/data"))
        table.add_argument("--teachers", type=Path, default=Path("../shared/teachers"))
        table.add_argument("--threads", type=positive, default=1)
    report = commands.add_parser("report", help="render all recorded tables")
    report.add_argument("--into", type=Path, default=_RESULTS, help="where figures are recorded")
    report.add_argument(
        "--scales", nargs="+", choices=SCALES, default=["cpu", "paper"], help="default: cpu paper"
    )
    report.add_argument("--markdown", type=Path, default=Path("docs/paper.md"))
    report.add_argument("--html", type=Path, default=_RESULTS / "paper.html")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(int(each) for each in text.split(","))
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"wanted different numbers from 0, got {text!r}")
    return seeds


if __name__ == "__main__":
    raise SystemExit(main())
