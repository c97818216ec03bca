"""What it costs that several threads may call one learner.

    python -m bench.learner_threads [--json] [--quick] [--student NAME] [--threads 2] [--rounds 31]

The same images in the same calls of `predict`, with batches of 1 and of 64:

unguarded     one thread, past the lock: what the learner does with the engine once it has its turn
again         the same once more: what two equal rows differ by on this machine
one           one thread calls learner.predict
four          four threads share the calls of one learner
four copies   four threads share them too, each with a learner of its own (copy.copy): for the
              memory of four, they compute side by side

Each row checks its answers, bit for bit, before it is timed. Rows take turns in one run; medians
and quartile spreads are reported.

guard         `one` over `unguarded`: what the lock costs a program of one thread; beside it the
              noise, `again` over `unguarded`, and the time of an answer that computes nothing
four          `four` over `one`: what it costs to call from several threads (wanted: 1.05 at most)
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any

import numpy as np

from bench.shared.arguments import positive
from bench.shared.inputs import make_inputs
from bench.shared.student_file import student_file
from bench.shared.students import WIDTHS, make_student
from bench.shared.timing import interleaved, machine
from pyedge.edge.answers import logits_of, prediction
from pyedge.edge.learner import EdgeLearner
from pyedge.images.edge_images import EdgeImages

CALLERS = 4
CALLS = {1: 64, 64: 8}  # by batch: some 50 ms of work in each row
_BUDGET_S = 60.0
_EMPTY_ANSWERS = 20_000

Answers = list[np.ndarray]
Predict = Callable[[np.ndarray], np.ndarray]


def past_the_lock(learner: EdgeLearner) -> Predict:
    """Return `predict` without its turns: only while nobody else calls the learner."""
    engine, shape, classes = learner._engine, learner.input_shape, len(learner.classes)

    def predict(images: np.ndarray) -> np.ndarray:
        given = EdgeImages.of(images, shape, labelled=None)
        learner._doubts.look(given, "predict")
        return prediction(logits_of(engine, given, 128, classes)).probabilities

    return predict


def guarded(learner: EdgeLearner) -> Predict:
    """Return `predict` as everybody calls it."""
    return lambda images: learner.predict(images).probabilities


def rows(learner: EdgeLearner, batch: int, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Make every row's work with batches of one size: a function that returns all answers."""
    images = make_inputs(make_student("resnet4"), batch * CALLERS).images
    calls = [images[i % CALLERS * batch :][:batch] for i in range(CALLS[batch])]

    def alone(predict: Predict) -> Callable[[], Answers]:
        return lambda: [predict(each) for each in calls]

    def shared(predicts: list[Predict]) -> Callable[[], Answers]:
        def part(caller: int) -> Answers:
            return [predicts[caller](each) for each in calls[caller::CALLERS]]

        def work() -> Answers:
            parts = list(pool.map(part, range(CALLERS)))
            return [parts[i % CALLERS][i // CALLERS] for i in range(len(calls))]

        return work

    copies = [copy(learner) for _ in range(CALLERS)]
    return {
        "unguarded": alone(past_the_lock(learner)),
        "again": alone(past_the_lock(learner)),
        "one": alone(guarded(learner)),
        "four": shared([guarded(learner)] * CALLERS),
        "four copies": shared([guarded(each) for each in copies]),
    }


def measure(learner: EdgeLearner, batch: int, rounds: int) -> dict[str, Any]:
    """Check, then time, all rows with batches of one size."""
    with ThreadPoolExecutor(CALLERS) as pool:
        works = rows(learner, batch, pool)
        want = works["unguarded"]()
        for name, work in works.items():
            same = all(np.array_equal(a, b) for a, b in zip(work(), want, strict=True))
            if not same:
                raise SystemExit(f"bench: {name} answers otherwise with batches of {batch}")
        times = interleaved(works, rounds, _BUDGET_S)
    ms = {name: median for name, (median, _) in times.items()}
    return {
        "batch": batch,
        "calls": CALLS[batch],
        "ms": {name: round(value, 3) for name, value in ms.items()},
        "spread_ms": {name: round(spread, 3) for name, (_, spread) in times.items()},
        "guard": round(ms["one"] / ms["unguarded"], 4),
        "noise": round(ms["again"] / ms["unguarded"], 4),
        "four": round(ms["four"] / ms["one"], 4),
        "four_copies": round(ms["four copies"] / ms["one"], 4),
    }


def empty_answer_us(learner: EdgeLearner) -> float:
    """The time of a turn in which nothing is done, less that of a call."""

    def nothing(student: Any, engine: Any, limit: Any) -> None:
        return None

    def timed(call: Callable[[], None]) -> float:
        start = time.perf_counter()
        for _ in range(_EMPTY_ANSWERS):
            call()
        return 1e6 * (time.perf_counter() - start) / _EMPTY_ANSWERS

    turns = learner._turns
    tries = [
        timed(lambda: turns.answer("predict", nothing)) - timed(lambda: nothing(None, None, None))
        for _ in range(5)
    ]
    return sorted(tries)[2]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.learner_threads", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--student", choices=WIDTHS, default="resnet4")
    parser.add_argument("--threads", type=positive, default=2, help="of the learner (2)")
    parser.add_argument("--rounds", type=positive, help="timed rounds (31)")
    options = parser.parse_args(arguments)
    learner = EdgeLearner(student_file(make_student(options.student)), threads=options.threads)
    facts = machine(None) | {"student": options.student, "threads": options.threads}
    rounds = options.rounds or (3 if options.quick else 31)
    turn = round(empty_answer_us(learner), 3)
    found = [measure(learner, batch, rounds) for batch in CALLS]
    if options.json:
        json.dump({"machine": facts, "rows": found, "empty_answer_us": turn}, sys.stdout, indent=1)
        print()
        return
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"a turn in which nothing is done: {turn} us")
    for row in found:
        print(f"\n{row['calls']} calls with batches of {row['batch']}")
        for name, value in row["ms"].items():
            print(f"  {name:12} {value:9.2f} ms  +- {row['spread_ms'][name]:.2f}")
        print(
            f"  guard {row['guard']:.4f} (noise {row['noise']:.4f}), four threads over one "
            f"{row['four']:.4f}, four copies over one {row['four_copies']:.4f}"
        )


if __name__ == "__main__":
    main()
