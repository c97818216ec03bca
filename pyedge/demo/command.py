"""`pyedge demo`: load the images, run the protocol, write the report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError
from pyedge.data import load_dataset
from pyedge.demo.page import write_page
from pyedge.demo.presets import DIGITS, IMAGES
from pyedge.demo.runner import available_cpus, run_protocol
from pyedge.demo.summary import as_text, summarise
from pyedge.files.atomic import check_folder, write_atomically


def run_command(args: argparse.Namespace) -> int:
    """Run the demonstration that `args` asks for, and return the exit code."""
    if args.seeds < 1:
        raise ValueError(f"demo: --seeds: wanted at least 1, got {args.seeds}")
    workers = available_cpus() if args.workers is None else args.workers
    if workers < 1:
        raise ValueError(f"demo: --workers: wanted at least 1, got {workers}")
    try:
        check_folder(args.out)
    except OSError as error:
        raise UsageError(f"--out {args.out}: {error.filename} {error.strerror}") from error
    preset = DIGITS if args.data == "digits" else IMAGES
    say(f"reading {args.data}")
    sets = load_dataset(args.data, size=_size(args))
    classes = len(sets[0].classes)
    if classes < 4:
        raise ValueError(f"demo: wanted at least 4 classes in {args.data}, got {classes}")
    args.out.mkdir(parents=True, exist_ok=True)
    pictures = args.out / "pictures"
    results = run_protocol(preset, sets, range(args.seeds), pictures, workers, say)
    report = summarise(results, preset, range(args.seeds), _data_name(args.data))
    report["classes"] = list(sets[0].classes)
    report["images"] = {
        name: len(part) for name, part in zip(("train", "val", "test"), sets, strict=True)
    }
    report["command"] = "pyedge demo " + " ".join(_command_line(args))
    text = json.dumps(report, indent=1) + "\n"
    page = write_page(report, results["compression"][0]["table"], pictures)
    write_atomically(args.out / "report.json", lambda file: file.write(text.encode()))
    # the name of the images' folder may be no UTF-8
    html = page.encode(errors="backslashreplace")
    write_atomically(args.out / "report.html", lambda file: file.write(html))
    written = f"written: {args.out / 'report.json'}, {args.out / 'report.html'}"
    Console("pyedge demo", as_json=args.json).result(f"\n{as_text(report)}\n\n{written}", report)
    return 0


def say(text: str) -> None:
    """Report progress, apart from the output."""
    print(text, file=sys.stderr, flush=True)


def _size(args: argparse.Namespace) -> int | None:
    if args.data == "digits":
        return args.size
    return 32 if args.size is None else args.size


def _data_name(data: Any) -> str:
    """Return the name of the data, without this machine's folders."""
    return str(data) if data == "digits" else Path(data).name


def _command_line(args: argparse.Namespace) -> list[str]:
    words = [] if args.data == "digits" else ["--data", _data_name(args.data)]
    return [*words, "--seeds", str(args.seeds)]
