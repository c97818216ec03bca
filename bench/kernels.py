"""Time the C++ kernels against torch and against the memory's bandwidth.

    python -m bench.kernels [--json] [--quick] [--group 1|2|3] [--no-compile] [--isa NAME]

The shapes are the groups of WRN-28-10 at batch 128, and students of the paper's ResNet 4. Each
answer is checked before anything is timed; what is compared takes turns; medians are reported.
`vs_eager` is the literal formulas in torch eager over ours, `vs_best_torch` the fastest that torch
does (other wordings and torch.compile included) over ours. `bandwidth_fraction` is the bytes that
the kernel cannot but move over its time, as a share of the read bandwidth of the same machine in
the same rounds: the faster of our own plain sum over the group's map and torch's `x.sum()`.
Without torch, only our rows appear. Ratios travel between machines, times do not.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from bench.cases.kernel_cases import Case, Inputs, make_cases, torch
from bench.shared.timing import interleaved, machine
from pyedge import kernels

# c, h = w of the group's maps, channels of the student's (WRN-28-10; the paper's ResNet 4)
GROUPS = ((160, 32, 78), (320, 16, 210), (640, 8, 498))
LAYOUTS = ("nchw", "channels_last")


def run_case(case: Case, inputs: Inputs, rounds: int, budget_s: float) -> dict[str, Any]:
    """Check, then time one case; return its row."""
    x = inputs.activation
    answer = case.ours()
    if not case.right(answer):
        raise SystemExit(f"bench.kernels: {case.kernel} is wrong")
    rivals = ({"eager": case.eager} if case.eager else {}) | case.better
    for name, call in rivals.items():
        if not case.agree(answer, call()):
            raise SystemExit(f"bench.kernels: {case.kernel} and torch ({name}) disagree")
    sums = {"plain sum": lambda: kernels.plain_sum(x)}
    if torch is not None:
        tensor = torch.from_numpy(x)
        sums["torch sum"] = lambda: tensor.sum()
    times = interleaved({"ours": case.ours, **sums, **rivals}, rounds, budget_s)
    ms, spread = times["ours"]
    bandwidth = x.nbytes / min(times[name][0] for name in sums)  # bytes a ms
    best = min(rivals, key=lambda name: times[name][0], default=None)
    return {
        "kernel": case.kernel,
        "shape": list(x.shape),
        "student_channels": len(inputs.kept) if "match" in case.kernel else None,
        "path": kernels.isa(),
        "layout": inputs.layout,
        "ms": round(ms, 4),
        "spread_ms": round(spread, 4),
        "vs_eager": round(times["eager"][0] / ms, 2) if case.eager else None,
        "vs_best_torch": round(times[best][0] / ms, 2) if best else None,
        "best_torch": best,
        "bandwidth_fraction": round(case.bytes_moved / ms / bandwidth, 3),
        "read_gb_per_s": round(bandwidth / 1e6, 1),
        "times_ms": {name: round(t[0], 4) for name, t in times.items()},
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="one group, batch 32, few rounds")
    parser.add_argument(
        "--group", type=int, choices=range(1, len(GROUPS) + 1), help="one group of WRN-28-10 only"
    )
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--isa", choices=kernels.available_isas(), help="path to measure")
    parser.add_argument("--threads", type=int, help="threads for ours and for torch")
    options = parser.parse_args(arguments)
    if options.isa:
        kernels.set_isa(options.isa)
    if options.threads:
        kernels.set_num_threads(options.threads)
    if torch is not None:
        torch.set_num_threads(kernels.num_threads())
    facts = machine(torch)
    if not options.json:
        print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n")
        print(_HEADER)
    rows = []
    groups = GROUPS[:1] if options.quick else GROUPS
    if options.group:
        groups = GROUPS[options.group - 1 : options.group]
    for c, side, width in groups:
        for layout in LAYOUTS:
            if torch is not None:
                torch.compiler.reset()
            inputs = Inputs(32 if options.quick else 128, c, side, width, layout)
            compiled = not (options.quick or options.no_compile)
            for case in make_cases(inputs, compiled):
                row = run_case(case, inputs, *((9, 4.0) if options.quick else (21, 12.0)))
                rows.append(row)
                if not options.json:
                    print(_line(row), flush=True)
    if options.json:
        json.dump({"machine": facts, "rows": rows}, sys.stdout, indent=1)
        print()


_HEADER = (
    "kernel             shape              layout           ms (spread)  "
    "vs eager  vs best torch  bandwidth"
)


def _line(row: dict[str, Any]) -> str:
    shape = "x".join(map(str, row["shape"]))
    eager, best = (
        "-" if row[name] is None else f"{row[name]:.1f}x" for name in ("vs_eager", "vs_best_torch")
    )
    return (
        f"{row['kernel']:<18} {shape:<18} {row['layout']:<14} {row['ms']:>7.3f} "
        f"({row['spread_ms']:.3f})  {eager:>8}  {best:>13}  {row['bandwidth_fraction']:>8.0%}"
    )


if __name__ == "__main__":
    main()
