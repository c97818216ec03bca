"""Time exact second moments against BLAS, and features against predict.

    python -m bench.moments [--json] [--quick] [--threads 1 2]

moments    kernels.add_second_moments of n x f whole numbers, beside numpy's float64 `q.T @ q` (a
           BLAS with its symmetric product), which is rounded and has no triangle to add to
features   Engine.features of n images of the paper's ResNet 4, beside Engine.predict of them

Answers are checked before they are timed. What is compared takes turns in a process of its own for
each number of threads, since a BLAS takes its own at import; medians and quartile spreads are
reported. `ratio` is the other's time over ours: for moments above 1 is faster than BLAS, for
features what they cost shows in how far it is below 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from bench.shared.arguments import positive
from bench.shared.inputs import make_inputs
from bench.shared.students import make_student
from bench.shared.timing import interleaved, machine
from pyedge import kernels

SHAPES = ((500, 498), (500, 1000))  # of ResNet 4's features, and of a random expansion of them
STUDENT = "resnet4"
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def moments_row(n: int, f: int, rounds: int) -> dict[str, Any]:
    """Check and time one shape of second moments."""
    random = np.random.default_rng(0)
    largest = kernels.LARGEST_VALUE
    values = random.integers(-largest, largest + 1, (n, f), dtype=np.int32)
    moments = np.zeros(f * (f + 1) // 2, np.int64)
    kernels.add_second_moments(values, moments)
    whole = values.astype(np.int64)
    require(np.array_equal(moments, (whole.T @ whole)[np.triu_indices(f)]), "moments")
    q = values.astype(np.float64)
    moments[:] = 0  # rounds of them would leave 64 bits only after 2^23 rows
    calls = {
        "ours": lambda: kernels.add_second_moments(values, moments),
        "BLAS": lambda: q.T @ q,
    }
    return row("moments", [n, f], calls, rounds)


def features_row(n: int, rounds: int) -> dict[str, Any]:
    """Check and time the features of n images."""
    made = make_student(STUDENT)
    images = make_inputs(made, n).images
    engine = kernels.Engine(made.nodes, made.arrays, list(made.input_shape), made.output, made.taps)
    engine.set_preprocessing("image")
    features, logits = engine.features(images)
    require(logits.tobytes() == engine.predict(images).tobytes(), "features")
    calls = {"ours": lambda: engine.features(images), "predict": lambda: engine.predict(images)}
    return row("features", list(features.shape), calls, rounds)


def row(kernel: str, shape: list[int], calls: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Time ours against the other."""
    times = interleaved(calls, rounds, 30.0)
    (_, (ms, spread)), (rival, (rival_ms, rival_spread)) = times.items()
    return {
        "kernel": kernel,
        "shape": shape,
        "threads": kernels.num_threads(),
        "path": kernels.isa(),
        "ms": round(ms, 3),
        "spread_ms": round(spread, 3),
        "beside": rival,
        "beside_ms": round(rival_ms, 3),
        "beside_spread_ms": round(rival_spread, 3),
        "ratio": round(rival_ms / ms, 3),
    }


def require(right: bool, kernel: str) -> None:
    """End the benchmark where an answer is wrong."""
    if not right:
        raise SystemExit(f"bench.moments: {kernel} is wrong")


def measure(quick: bool) -> list[dict[str, Any]]:
    """Measure every row with this process's threads."""
    rounds = 5 if quick else 31
    rows = [moments_row(n, f, rounds) for n, f in SHAPES]
    return [*rows, features_row(32 if quick else 500, rounds)]


def in_process(threads: int, quick: bool) -> list[dict[str, Any]]:
    """Measure in a process where ours and the BLAS have so many threads."""
    environment = dict(os.environ, PYEDGE_NUM_THREADS=str(threads))
    environment |= dict.fromkeys(_BLAS_THREADS, str(threads))
    code = f"import json; from bench.moments import measure; print(json.dumps(measure({quick})))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip() or f"bench.moments: ended with {done.returncode}")
    return json.loads(done.stdout)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.moments", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="few images and rounds")
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2], metavar="N")
    options = parser.parse_args(arguments)
    facts = machine(None)
    rows = [each for n in options.threads for each in in_process(n, options.quick)]
    if options.json:
        json.dump({"machine": facts, "rows": rows}, sys.stdout, indent=1)
        print()
        return
    print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n")
    print("kernel     shape       threads        ms (spread)   beside           ms (spread)  ratio")
    for each in rows:
        shape = "x".join(map(str, each["shape"]))
        print(
            f"{each['kernel']:<10} {shape:<11} {each['threads']:>7} {each['ms']:>9.3f} "
            f"({each['spread_ms']:.3f})   {each['beside']:<11} {each['beside_ms']:>7.3f} "
            f"({each['beside_spread_ms']:.3f})  {each['ratio']:>5.2f}"
        )


if __name__ == "__main__":
    main()
