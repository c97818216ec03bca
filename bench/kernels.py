"""Time the C++ kernels against torch and against the memory's bandwidth.

    python -m bench.kernels [--json] [--quick] [--no-compile] [--isa NAME]

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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.timing import interleaved, machine
from pyedge import kernels

try:
    import torch

    from bench import torch_ways as ways
except ImportError:
    torch = None  # type: ignore[assignment]

# c, h = w of the group's maps, channels of the student's (WRN-28-10; the paper's ResNet 4)
GROUPS = ((160, 32, 78), (320, 16, 210), (640, 8, 498))
CANDIDATES = 4
LAYOUTS = ("nchw", "channels_last")


@dataclass
class Case:
    """One kernel on one input: ours, torch's ways, and the bytes that must move."""

    kernel: str
    bytes_moved: int
    ours: Callable[[], Any]
    eager: Callable[[], Any] | None
    better: dict[str, Callable[[], Any]]
    agree: Callable[[Any, Any], bool]


class Inputs:
    """The maps of one group in one layout, as numpy arrays and as tensors of the same memory."""

    def __init__(self, n: int, c: int, side: int, width: int, layout: str) -> None:
        rng = np.random.default_rng(0)

        def make(channels: int) -> np.ndarray:
            x = rng.standard_normal((n, channels, side, side), dtype=np.float32)
            if layout == "channels_last":
                x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
            return x

        self.layout = layout
        self.teachers = [make(c) for _ in range(CANDIDATES)]
        self.kept = np.sort(rng.choice(c, width, replace=False)).astype(np.int64)
        self.student = make(width)
        self.student += self.teachers[1][:, self.kept]
        self.activation = np.maximum(self.teachers[0], 0)
        self.scale = rng.uniform(0.5, 1.5, c).astype(np.float32)
        self.shift = rng.standard_normal(c).astype(np.float32)


def match_and_gradient(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Do what a training step does: match all candidates, take the gradient of the best."""
    match = kernels.cosine_match(inputs.student, inputs.teachers, inputs.kept)
    gradient = kernels.cosine_match_gradient(
        inputs.student,
        inputs.teachers[match.best],
        inputs.kept,
        match.cosine[match.best],
        match.teacher_norm[match.best],
        match.student_norm,
    )
    return match.cosine, gradient


def make_cases(inputs: Inputs, compiled: bool) -> list[Case]:
    """Pair each kernel with torch's ways of doing the same."""
    x, t, s = inputs.activation, inputs.teachers[0], inputs.student
    area = x.shape[2] * x.shape[3]
    match_bytes = CANDIDATES * t.nbytes + s.nbytes
    cases = [
        Case("zero_count", x.nbytes, lambda: kernels.zero_count(x), None, {}, _fractions(area)),
        Case(
            "zero_count_affine",
            t.nbytes,
            lambda: kernels.zero_count_affine(t, inputs.scale, inputs.shift),
            None,
            {},
            _fractions(area),
        ),
        Case(
            "cosine_match",
            match_bytes,
            lambda: kernels.cosine_match(s, inputs.teachers, inputs.kept),
            None,
            {},
            lambda ours, other: np.allclose(ours.cosine, [float(c) for c in other[::2]], atol=1e-4),
        ),
        # The gradient reads the kept channels and the student, and writes as much.
        Case(
            "cosine_match_grad",
            match_bytes + 3 * s.nbytes,
            lambda: match_and_gradient(inputs),
            None,
            {},
            lambda ours, other: (
                np.allclose(ours[0], other[0].numpy(), atol=1e-4)
                and _close(ours[1], other[1].numpy())
            ),
        ),
    ]
    if torch is not None:
        for case, (eager, better) in zip(cases, _torch_ways(inputs, compiled), strict=True):
            case.eager, case.better = eager, better
    return cases


def _torch_ways(inputs: Inputs, compiled: bool):
    x, t, s = (torch.from_numpy(a) for a in (inputs.activation, inputs.teachers[0], inputs.student))
    scale, shift, kept = (torch.from_numpy(a) for a in (inputs.scale, inputs.shift, inputs.kept))
    ts = [torch.from_numpy(a) for a in inputs.teachers]

    def quiet(f: Callable, *arguments: Any) -> Callable[[], Any]:
        def call() -> Any:
            with torch.no_grad():
                return f(*arguments)

        return call

    zero = {
        "sum of booleans": quiet(ways.zero_sum, x),
        "count_nonzero": quiet(ways.zero_count_nonzero, x),
    }
    affine = {"sum of booleans": quiet(ways.affine_sum, t, scale, shift)}
    match = {"closed form": quiet(ways.match_closed, s, ts, kept)}
    grad = {"closed form, gradient by hand": quiet(ways.match_grad_by_hand, s, ts, kept)}
    if compiled:

        def compile_(f: Callable) -> Callable:
            return torch.compile(f, dynamic=False)

        zero["compiled"] = quiet(compile_(ways.zero_literal), x)
        affine["compiled"] = quiet(compile_(ways.affine_sum), t, scale, shift)
        match["compiled closed form"] = quiet(compile_(ways.match_closed), s, ts, kept)
        grad["compiled closed form, gradient by hand"] = quiet(
            ways.match_grad_by_hand,
            s,
            ts,
            kept,
            compile_(ways.closed_sums),
            compile_(ways.closed_gradient),
        )
    return (
        (quiet(ways.zero_literal, x), zero),
        (quiet(ways.affine_literal, t, scale, shift), affine),
        (quiet(ways.match_literal, s, ts, kept), match),
        (lambda: ways.match_grad_literal(s, ts, kept), grad),
    )


def _fractions(area: int) -> Callable[[Any, Any], bool]:
    # A fused multiply-add (torch.compile) may see an element within an ulp of 0 otherwise.
    return lambda ours, other: np.allclose(ours / area, other.numpy(), atol=2.0 / area)


def _close(ours: np.ndarray, other: np.ndarray) -> bool:
    # torch sums 20 million products in float32: its factors are good to 1e-4 or so.
    return bool(np.abs(ours - other).max() <= 1e-3 * np.abs(ours).max())


def run_case(case: Case, inputs: Inputs, rounds: int, budget_s: float) -> dict[str, Any]:
    """Check, then time one case; return its row."""
    x = inputs.activation
    answer = case.ours()
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
    for c, side, width in groups:
        for layout in LAYOUTS:
            if torch is not None:
                torch.compiler.reset()
            inputs = Inputs(32 if options.quick else 128, c, side, width, layout)
            compiled = not (options.quick or options.no_compile)
            for case in make_cases(inputs, compiled):
                row = run_case(case, inputs, *((9, 4.0) if options.quick else (41, 20.0)))
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
