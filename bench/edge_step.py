"""Time one step of knowledge transfer on the paper's students, and one batch of inference.

    python -m bench.edge_step [--json] [--quick] [--student NAME ...] [--batch 128] [--threads 2]
                              [--repeats 7] [--no-compile] [--no-memory] [--profile] [--isa NAME]

One step (Sec. 4.1): forward, J_1 + 10 J_b + J_3 against four candidate blocks a group of
WRN-28-10 (VGG-16's for the VGG students), backward to the last conv of each group and the
classifier, clipping, SGD with Nesterov momentum; batch norm frozen. Students and knowledge are
random, of the real widths. mobilenet_v2 (96 pixels), mobilenet_v2_224, resnext50 and regnet_x_400mf
are whole networks; resnext50_full and regnet_x_400mf_full the same with full convolutions in the
place of grouped ones, zeros between the groups. numpy alone is enough; with torch installed its
rows appear:

literal    the paper's formulas in eager mode: maps padded to the teacher's channels, normalised,
           subtracted; batch norm, ReLU and shortcut as modules compute them
eager      as well as torch can be written: closed form on maps cut beforehand, batch norm folded
           or an affine, ReLU in place, shortcuts without padded copies, fused optimizer; both
           memory layouts
compiled   the same under torch.compile, whole graph

Each row checks its answer against float64 autograd, and that the loss falls, before it is timed.
What is compared takes turns in one run; medians are reported. Ours starts from uint8 images and
fp16 maps, torch from standardised float32 images and float32 maps.

vs_literal, vs_best_torch  torch's step time over ours, for `literal` and for the fastest of all
floor_fraction     the multiply-adds of the direct form, at the machine's measured peak, over our
                   step: above 1 means that Winograd saved more than everything else cost
memory_ratio       peak memory of our step over that of torch's fastest, each above its loaded
                   student, in a process of its own; memory_vs_literal is over the literal
                   row's
gradient_error     the largest relative difference of a gradient, in norm, from float64's, on an
                   image none of whose ReLUs rounding turns over; gradient_error_of_batch
frozen_*_ratio     our last-conv step over our full one (every conv, batch norm and linear learns);
                   not for the VGGs, each of whose convs is the last of its group
inference_vs_torch torch's fastest inference over ours

`python -m bench.peers` has other engines than torch, at a step of labels alone.
"""

from __future__ import annotations

import argparse
import json
import sys

from bench.shared.arguments import positive
from bench.shared.named_students import STUDENTS
from bench.shared.students import make_student
from bench.shared.timing import machine
from bench.step import printed
from bench.step.import_times import import_times
from bench.step.run import Settings, run_student
from pyedge import kernels

try:
    import torch
except ImportError:  # our rows alone then
    torch = None  # type: ignore[assignment]

DEFAULT = ("resnet1", "resnet2", "resnet3", "resnet4", "vgg4")


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    options = _parse(arguments)
    if options.isa:
        kernels.set_isa(options.isa)
    kernels.set_num_threads(options.threads)
    if torch is not None:
        torch.set_num_threads(options.threads)
    facts = machine(torch)
    # the most of several tries: a peak that somebody else's work lowered would flatter us
    facts["fma_gflops"] = round(max(kernels.fma_rate(0.1) for _ in range(10)), 1)
    settings = Settings(
        batch=options.batch or (16 if options.quick else 128),
        threads=options.threads,
        repeats=options.repeats or (3 if options.quick else 7),
        gflops=facts["fma_gflops"],
        torch=torch is not None,
        compiled=not (options.quick or options.no_compile),
        memory=not options.no_memory,
        profile=options.profile,
    )
    if not options.json:
        print(printed.head(facts, settings))
    rows = []
    for name in options.student or DEFAULT:
        row = run_student(name, settings)
        rows.append(row)
        if not options.json:
            print(printed.line(row), flush=True)
    start = import_times(make_student("resnet1"), settings.repeats)
    if options.json:
        json.dump({"machine": facts, "rows": rows, "start": start}, sys.stdout, indent=1)
        print()
    else:
        print(printed.tail(rows, start))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.edge_step", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="batch 16, 3 repeats, no compilation")
    parser.add_argument(
        "--student", action="append", choices=STUDENTS, help=f"default: {', '.join(DEFAULT)}"
    )
    parser.add_argument("--batch", type=positive, help="images in a step (128)")
    parser.add_argument(
        "--threads", type=positive, default=2, help="threads for ours and for torch (2)"
    )
    parser.add_argument("--repeats", type=positive, help="timed rounds (7)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument(
        "--profile", action="store_true", help="also print where our step's time goes"
    )
    parser.add_argument("--isa", choices=kernels.available_isas(), help="path to measure")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
