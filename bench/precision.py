"""Half precision and 8 bits against float32: processor time, errors, memory, accuracy.

    python -m bench.precision [--student NAME ...] [--batch 16] [--repeats 15] [--isa NAME] [--json]
    python -m bench.precision --learning cifar10 [--protocol 9+1] [--seeds 0,1,2] [--cache FOLDER]
                         [--methods NAMES] [--images ARCHIVE] [--teacher FILE] [--json]

The first times a batch of inference and a step of knowledge transfer (bench.edge_step's, without
torch) on one thread, each in the precisions that it has, taking turns; medians of processor time,
which another program on the machine changes less than the clock. A step in 8 bits is float32's.
Differences are in norm, from float32's answers on the same batch: logits, and the gradient that
differs most, with the cosine of the two. The 8-bit scales are of that batch. Memory is what the
engine says: packed and other weights, and the arena of a batch. Files are those of float32 and of
`pyedge.add_int8`, without statistics.
The second takes students of bench.learning through a protocol in each precision, and needs torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import pyedge
from bench.shared.arguments import positive
from bench.shared.engine_stepper import EngineStepper
from bench.shared.inputs import make_inputs
from bench.shared.named_students import STUDENTS
from bench.shared.student_file import student_file
from bench.shared.timing import machine
from pyedge import kernels
from pyedge.edge.add_int8 import scale_of
from pyedge.student.file import StudentFile

DEFAULT = ("resnet1", "resnet2", "resnet3", "resnet4")
PRECISIONS = ("float32", "half", "int8")
_LOW = PRECISIONS[1:]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    options = _parse(arguments)
    if options.isa:
        kernels.set_isa(options.isa)
    kernels.set_num_threads(1)
    types = {"half": kernels.half_type(), "int8": kernels.int8_type()}
    facts = {**machine(None), **types}
    if None in types.values():
        lacking = "half precision" if facts["half"] is None else "products of 8 bits"
        sys.exit(f"bench.precision: the {kernels.isa()} path of this CPU has no {lacking}")
    if options.learning:
        from bench.learning.precision import table

        found = table(options)
        rows, lines = list(found.rows), found.text
    else:
        rows = [
            student_row(name, options.batch, options.repeats) for name in options.student or DEFAULT
        ]
        lines = text(rows)
    if options.json:
        print(json.dumps({"machine": facts, "rows": rows}, indent=1))
    else:
        print(f"{facts['cpu']}, {facts['isa']}, {facts['half']}, {facts['int8']}, 1 thread")
        print(lines)


def student_row(name: str, batch: int, repeats: int) -> dict[str, Any]:
    """Compare all precisions on one student."""
    student = STUDENTS[name]()
    inputs = make_inputs(student, batch)
    ways = {each: EngineStepper(student, inputs, student.last_conv) for each in PRECISIONS}
    engines = {each: stepper.engine for each, stepper in ways.items()}
    engines["int8"].set_input_scales(_scales(engines["int8"].input_ranges(inputs.images)))
    for precision, engine in engines.items():
        engine.set_precision(precision)
    plain, half = (ways[each].answer().gradients for each in ("float32", "half"))
    worst = max(plain, key=lambda each: _off(half[each], plain[each]))
    answers = {each: stepper.predict() for each, stepper in ways.items()}
    calls = {
        "inference": {each: stepper.predict for each, stepper in ways.items()},
        "step": {each: ways[each].step for each in ("float32", "half")},
    }
    row: dict[str, Any] = {
        "student": name,
        "batch": batch,
        "logits_off": {each: _off(answers[each], answers["float32"]) for each in _LOW},
        "gradient_off": _off(half[worst], plain[worst]),
        "gradient_cosine": _cosine(half[worst], plain[worst]),
        "gradient": worst,
    }
    for what, contestants in calls.items():
        row[f"{what}_ms"] = _processor_ms(contestants, repeats)
    row["weight_bytes"] = {each: engine.weight_bytes for each, engine in engines.items()}
    for what, training in (("inference", False), ("step", True)):
        row[f"{what}_bytes"] = {
            each: engine.memory(batch, training) for each, engine in engines.items()
        }
    file = student_file(student)
    row["file_bytes"] = {
        "float32": file_size(file),
        "int8": file_size(pyedge.add_int8(file, inputs.images)),
    }
    return row


def text(rows: list[dict[str, Any]]) -> str:
    """Put the rows into a table, for people."""
    lines = [
        f"{'':12} {'inference ms: float32, half, int8':>34} {'':>12} {'step ms':>16} {'':>6} "
        f"{'logits off':>14} {'gradient':>8} {'cosine':>8} {'MB of weights':>15} "
        f"{'MB of a step':>15} {'MB of a file':>22}"
    ]
    for row in rows:
        cells = [f"{row['student']:12}"]
        for what, width in (("inference", 34), ("step", 16)):
            plain, *low = row[f"{what}_ms"].values()
            cells.append(f"{' -> '.join(f'{each:.1f}' for each in (plain, *low)):>{width}}")
            cells.append(" ".join(f"{plain / each:>5.2f}x" for each in low))
        cells.append(" ".join(f"{row['logits_off'][each]:>7.4f}" for each in _LOW))
        cells.append(f"{row['gradient_off']:>8.4f} {row['gradient_cosine']:>8.5f}")
        for what in ("weight_bytes", "step_bytes"):
            plain, half = (row[what][each] / 1e6 for each in ("float32", "half"))
            cells.append(f"{f'{plain:.1f} -> {half:.1f}':>15}")
        plain, int8 = (each / 1e6 for each in row["file_bytes"].values())
        cells.append(f"{f'{plain:.2f} -> {int8:.2f} ({int8 / plain:.3f})':>22}")
        lines.append(" ".join(cells))
    return "\n".join(lines)


def file_size(student: StudentFile) -> int:
    """Return the bytes that a student's file takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.pyedge"
        pyedge.write_student(student, path)
        return path.stat().st_size


def _scales(ranges: Mapping[str, np.ndarray]) -> dict[str, tuple[float, int]]:
    return {name: scale_of(each[:, 0].min(), each[:, 1].max()) for name, each in ranges.items()}


def _processor_ms(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            spent[name].append(1e3 * (time.process_time() - begin))
    return {name: round(statistics.median(times), 2) for name, times in spent.items()}


def _off(came: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(came - wanted) / np.linalg.norm(wanted))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--student", action="append", choices=STUDENTS, help=f"default: {', '.join(DEFAULT)}"
    )
    parser.add_argument("--batch", type=positive, default=16, help="images (16)")
    parser.add_argument("--repeats", type=positive, default=15, help="timed rounds (15)")
    parser.add_argument("--isa", choices=kernels.available_isas(), help="path to measure")
    parser.add_argument(
        "--learning", metavar="DATA", help="compare accuracies instead: digits or cifar10"
    )
    parser.add_argument("--protocol", default="9+1", help="of bench.learning (9+1)")
    parser.add_argument(
        "--seeds", type=_numbers, default=(0, 1, 2), help="for example 0,1,2 (the default)"
    )
    parser.add_argument(
        "--methods",
        default="before; labels; transfer; statistics",
        help="separated by semicolons (before; labels; transfer; statistics)",
    )
    parser.add_argument("--cache", type=Path, default=Path("build/learning"))
    parser.add_argument("--images", type=Path, help="the archive, as in bench.learning")
    parser.add_argument("--teacher", type=Path, help="the teacher's weights, as there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def _numbers(given: str) -> tuple[int, ...]:
    return tuple(int(each) for each in given.split(","))


if __name__ == "__main__":
    main()
