"""The peak memory of one step above the loaded student, each contestant in a fresh process.

    python -m bench.step.peak_memory CONTESTANT STUDENT [--batch 128] [--threads 2]

Prints one JSON object. The batch and the knowledge lie in memory before the baseline is taken, and
a step on a single image is done: torch has loaded its libraries and made the optimizer's slots, our
engine has packed its weights. A compiled step is compiled by a first step on the whole batch, and
what that left behind is given back to the system. The peak is the kernel's own high-water mark of
resident memory (Linux, VmHWM, set back through clear_refs); where that cannot be set back, the
process's largest resident size, if it rose.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.shared.inputs import StepInputs, make_inputs
from bench.shared.named_students import STUDENTS
from bench.shared.students import BenchStudent

Facts = Callable[[int | None], dict[str, Any]]  # what else is known once the peak is

CONTESTANTS = ("ours", "ours full", "literal", "eager channels_last", "eager nchw", "compiled")


def measure(contestant: str, student: str, batch: int, threads: int) -> dict[str, Any]:
    """Measure in a fresh process; the result has `peak_bytes` or, where it failed, `error`."""
    command = [sys.executable, "-m", "bench.step.peak_memory", contestant, student]
    command += ["--batch", str(batch), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> None:
    """Measure one contestant in this process."""
    parser = argparse.ArgumentParser(prog="python -m bench.step.peak_memory", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("student", choices=STUDENTS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    student = STUDENTS[options.student]()
    inputs = make_inputs(student, options.batch)
    prepare = _prepare_ours if options.contestant.startswith("ours") else _prepare_torch
    step, facts = prepare(options.contestant, student, inputs, options.threads)
    found = _peak_of(step)
    print(json.dumps(found | facts(found["peak_bytes"])))


def _prepare_ours(
    contestant: str, student: BenchStudent, inputs: StepInputs, threads: int
) -> tuple[Callable[[], Any], Facts]:
    from bench.shared.engine_stepper import EngineStepper
    from pyedge import kernels

    kernels.set_num_threads(threads)
    trainable = student.full if contestant == "ours full" else student.last_conv
    one = inputs.part(slice(1))
    one.norms[:] = [np.ascontiguousarray(squares) for squares in one.norms]
    stepper = EngineStepper(student, one, trainable)
    engine = stepper.engine
    stepper.step()  # packs the weights
    engine.set_micro_batch(0)  # gives the arena of one image back
    stepper.inputs = inputs

    def facts(peak: int | None) -> dict[str, Any]:
        return {
            "peak_bytes": peak,
            "planned_bytes": engine.memory(inputs.batch, True),
            "weight_bytes": engine.weight_bytes,
        }

    return stepper.step, facts


def _prepare_torch(
    contestant: str, student: BenchStudent, inputs: StepInputs, threads: int
) -> tuple[Callable[[], Any], Facts]:
    import torch

    from bench.step import torch_rows as rows

    torch.set_num_threads(threads)
    kind, _, layout = contestant.partition(" ")
    if kind == "compiled":
        stepper = rows.best(student, inputs, student.last_conv, compiled=True)
        stepper.step()
        stepper.step()
    else:
        one = inputs.part(slice(1))
        if kind == "literal":
            stepper, batch = (
                rows.literal(student, one, student.last_conv),
                rows.literal_batch(inputs),
            )
        else:
            stepper = rows.best(student, one, student.last_conv, layout)
            batch = rows.best_batch(inputs, layout)
        stepper.step()
        stepper.use(batch)
    return stepper.step, lambda peak: {}


def _peak_of(step: Any) -> dict[str, Any]:
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # what lies free would be taken again unseen
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as control:
            control.write("5")  # set VmHWM back to what is resident now
        before = _status("VmRSS")
    except OSError:
        return _peak_by_rusage(step)
    step()
    return {"method": "VmHWM", "peak_bytes": _status("VmHWM") - before, "before_bytes": before}


def _peak_by_rusage(step: Any) -> dict[str, Any]:
    try:
        import resource
    except ImportError:  # Windows
        return {"method": None, "peak_bytes": None}

    def largest() -> int:
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = largest()
    step()
    rise = largest() - before
    # the largest size so far may be that of the preparation: then a rise tells too little
    return {"method": "ru_maxrss, a lower bound", "peak_bytes": rise or None}


def _status(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(f"{field}:"):
                return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
