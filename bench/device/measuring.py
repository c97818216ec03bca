"""The rows of bench/phone.py: kernels, numbers of threads, students; each checked, then timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from bench.shared.contest import Answer, differences, falls, require
from bench.shared.engine_stepper import EngineStepper
from bench.shared.inputs import StepInputs, make_inputs
from bench.shared.students import BenchStudent, make_student
from bench.shared.timing import interleaved
from pyedge import kernels

BATCHES = (128, 64, 32, 16, 8)
# what `pyedge demo` takes for a new category, on CIFAR-10
CATEGORY_STEPS, CATEGORY_BATCH = 64, 128
# Fast code against the plain one on the same images: both round, and a ReLU near 0 may turn over
_TOLERANCE = {"gradients": 5e-3, "other": 1e-4}
_CHECK_IMAGES, _FALL_IMAGES, _FALL_STEPS = 2, 8, 10
_READ_BYTES = 64 << 20  # more than a phone's caches hold
_NO_LIMIT_S = 1e9


def thread_choices() -> dict[str, int]:
    """Numbers of threads to compare: one, the big CPUs, all."""
    cpus = kernels.cpus()
    total = len(cpus.numbers) or kernels.num_threads()
    choices = {"1": 1}
    if 1 < len(cpus.big) < total:
        choices[f"{len(cpus.big)} big"] = len(cpus.big)
    if total > 1:
        choices[f"{total} all"] = total
    return choices


def fitting_batch(names: Collection[str], available: int | None) -> int:
    """Choose the largest batch whose step takes at most half of the memory that is free."""
    for batch in BATCHES:
        if available is None or 2 * max(_bytes(make_student(n), batch) for n in names) < available:
            return batch
    return BATCHES[-1]


def kernel_rows(choices: dict[str, int], seconds: float) -> list[dict[str, Any]]:
    """Multiply-adds on data in the cache, and reading memory, with each number of threads."""
    x = np.ones((1, 1, 1024, _READ_BYTES // 4096), np.float32)
    rows = []
    for name, threads in choices.items():
        kernels.set_num_threads(threads)
        if kernels.plain_sum(x) != x.size:
            raise SystemExit("bench.phone: plain_sum is wrong")
        times = []
        for _ in range(5):
            start = time.perf_counter()
            kernels.plain_sum(x)
            times.append(time.perf_counter() - start)
        rows.append(
            {
                "threads": name,
                "fma_gflops": round(kernels.fma_rate(seconds), 1),
                "read_gb_per_s": round(x.nbytes / min(times) / 1e9, 1),
            }
        )
    return rows


def thread_rows(
    name: str, choices: dict[str, int], batch: int, repeats: int
) -> list[dict[str, Any]]:
    """One student's step with each number of threads: its time, and the CPUs' time together."""
    stepper = _stepper(make_student(name), make_inputs(make_student(name), batch))

    def with_threads(threads: int) -> Callable[[], float]:
        def step() -> float:
            kernels.set_num_threads(threads)
            return stepper.step()

        return step

    steps = {label: with_threads(threads) for label, threads in choices.items()}
    times = interleaved(steps, repeats, _NO_LIMIT_S)
    rows = []
    for label, step in steps.items():
        step()
        start = time.process_time()
        step()
        cpu_ms = 1e3 * (time.process_time() - start)
        ms, spread = times[label]
        rows.append(
            {
                "threads": label,
                "student": name,
                "step_ms": round(ms, 2),
                "step_spread_ms": round(spread, 2),
                "cpu_ms": round(cpu_ms, 2),
            }
        )
    return rows


def student_row(name: str, batch: int, repeats: int) -> dict[str, Any]:
    """Check a student, then time its inference and its step. Exits where an answer is wrong."""
    student = make_student(name)
    checks = check(student)
    inputs = make_inputs(student, batch)
    stepper = _stepper(student, inputs)
    calls = {"predict": stepper.predict, "step": stepper.step}
    times = interleaved(calls, repeats, _NO_LIMIT_S)
    step_ms, spread = times["step"]
    steps = CATEGORY_STEPS * CATEGORY_BATCH / batch
    return {
        "student": name,
        "params": student.params,
        "batch": batch,
        "inference_ms": round(times["predict"][0], 2),
        "step_ms": round(step_ms, 2),
        "step_spread_ms": round(spread, 2),
        "category_minutes": round(steps * step_ms / 6e4, 3),
        "memory_bytes": stepper.engine.memory(batch, True),
        "checks": checks,
    }


def check(student: BenchStudent) -> dict[str, Any]:
    """Hold losses and gradients to the plain code's, and see the loss fall."""
    fast = kernels.isa()
    few = make_inputs(student, _CHECK_IMAGES)
    answers: dict[str, Answer] = {}
    try:
        for isa in ("reference", fast):
            kernels.set_isa(isa)
            answers[isa] = _stepper(student, few).answer()
    finally:
        kernels.set_isa(fast)
    found = differences(answers[fast], answers["reference"])
    require(f"{student.name}, {fast} against the plain code", found, _TOLERANCE)
    stepper = _stepper(student, make_inputs(student, _FALL_IMAGES))
    first, last = falls(student.name, stepper, _FALL_STEPS)
    return {"differences": found, "loss": [first, last]}


def _stepper(student: BenchStudent, inputs: StepInputs) -> EngineStepper:
    return EngineStepper(student, inputs, student.last_conv)


def _bytes(student: BenchStudent, batch: int) -> int:
    """What a row takes: the engine's arena, the knowledge, and one map of it in the making."""
    engine = _stepper(student, make_inputs(student, 1)).engine
    maps = [math.prod(student.shapes[tap]) for tap in student.taps]
    knowledge = sum(2 * k * size for k, size in zip(student.candidates, maps, strict=True))
    return engine.memory(batch, True) + batch * (knowledge + 8 * max(maps))
