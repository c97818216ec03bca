"""See what a device can do: its CPUs, and how long the paper's students take to learn on it.

    python -m bench.phone [--quick] [--batch N] [--repeats N] [--json FILE]

Needs numpy alone and prints one screen. May take some minutes on a phone (--quick: about one).

threads       one, the big CPUs, all: multiply-adds on data in the cache, reading memory, one step
              of ResNet 4, and the CPU time that the step takes on all CPUs together. Of two
              settings with nearly the same step the one with less CPU time spares the battery.
              The default is the big CPUs; PYEDGE_NUM_THREADS or threads= sets another number
infer ms      inference of a batch of 32x32 images
learn ms      one step of learning: forward, J_1 + 10 J_b + J_3 against four candidate blocks a
              group of WRN-28-10, backward to the last conv of each group and the classifier, SGD
category      minutes to learn a new one: 64 steps of 128 images, as in `pyedge demo` on CIFAR-10,
              from a pack that the teacher made elsewhere
FMA rate at the end   below 90 % or so the device has grown hot and slowed down: the figures are
              those of a hot one, as learning in earnest has them

Students and knowledge are random, of the real widths. Before a student is timed, its losses and
gradients are held to those of the plain C++ code, and its loss is seen to fall. The batch is 128,
or what fits half of the free memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.device.measuring import (
    CATEGORY_BATCH,
    CATEGORY_STEPS,
    fitting_batch,
    kernel_rows,
    student_row,
    thread_choices,
    thread_rows,
)
from bench.device.reading import device_facts
from bench.device.screen import screen
from bench.shared.arguments import positive
from pyedge import kernels

STUDENTS = ("resnet1", "resnet2", "resnet3", "resnet4")
QUICK_BATCH = 8


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    options = _parse(arguments)
    report = measure(options.batch, options.repeats, options.quick)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(screen(report))


def measure(batch: int | None, repeats: int | None, quick: bool) -> dict[str, Any]:
    """Do all of it; the number of threads is afterwards what it was."""
    default, facts = kernels.num_threads(), device_facts()
    batch = batch or (
        QUICK_BATCH if quick else fitting_batch(STUDENTS, facts["memory_available_bytes"])
    )
    repeats = repeats or (2 if quick else 3)
    choices = thread_choices()
    seconds = 0.1 if quick else 0.5
    try:
        kernel = _said("kernels", lambda: kernel_rows(choices, seconds))
        kernels.set_num_threads(default)
        before = kernels.fma_rate(seconds)
        students = [
            _said(name, lambda name=name: student_row(name, batch, repeats)) for name in STUDENTS
        ]
        threads = _said("threads", lambda: thread_rows(STUDENTS[-1], choices, batch, repeats))
        kernels.set_num_threads(default)
        after = kernels.fma_rate(seconds)
    finally:
        kernels.set_num_threads(default)
    return {
        "device": facts,
        "quick": quick,
        "batch": batch,
        "repeats": repeats,
        "default_threads": default,
        "category": {"steps": CATEGORY_STEPS, "batch": CATEGORY_BATCH},
        "kernels": kernel,
        "threads": threads,
        "students": students,
        "fma_at_the_end": round(after / before, 3),
    }


def _said(what: str, work: Any) -> Any:
    """Do some work; while it runs, a terminal shows what."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"\r{what} ...", end="", file=sys.stderr, flush=True)
    result = work()
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return result


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.phone", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help=f"batch {QUICK_BATCH}, two rounds")
    parser.add_argument("--batch", type=positive, help="images in a step (128, or what fits)")
    parser.add_argument("--repeats", type=positive, help="timed rounds (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write it all to a file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
