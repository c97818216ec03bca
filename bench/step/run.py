"""One row of bench/edge_step.py: a student's contestants are checked, timed, and weighed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.shared.contest import Answer, Stepper, differences, falls, relative, require
from bench.shared.engine_stepper import EngineStepper
from bench.shared.floor import count_macs, floor_ms
from bench.shared.inputs import StepInputs, make_inputs
from bench.shared.named_students import STUDENTS
from bench.shared.students import BenchStudent
from bench.shared.timing import interleaved
from bench.step import peak_memory

# Of the millions of ReLUs of a batch a few lie so near 0 that rounding turns them over, and n of N
# turned over move a gradient by sqrt(n / N), in torch's float32 as in ours: noise of 1e-6 on the
# maps of ResNet 4 in float64 moves the gradient of its stem by 4e-4. So ours is held to STRICT on
# a single image that has no such ReLU (of MobileNetV2's at 224 pixels one in ten), and to the
# student's gradient_tolerance, which a wrong formula exceeds by far, on the batch.
STRICT, STRICT_IMAGES = {"other": 1e-4}, 24
OTHER_TOLERANCE = 1e-4
# torch's norms of 20 million float32 values in eager mode are off by 1e-3
LITERAL_TOLERANCE = {"gradients": 1e-2, "other": 1e-2}
FALL_STEPS, TORCH_FALL_STEPS = 20, 3
_MEMORY_FIGURES = (
    "memory_ratio",
    "memory_vs_literal",
    "frozen_memory_ratio",
)
_NO_LIMIT_S = 1e9  # every contestant runs in every round


@dataclass(frozen=True)
class Settings:
    """How the benchmark was asked to run."""

    batch: int
    threads: int
    repeats: int
    gflops: float
    torch: bool
    compiled: bool
    memory: bool
    profile: bool


def run_student(name: str, settings: Settings) -> dict[str, Any]:
    """Check, then time one student; return its row. Exits where an answer is wrong."""
    student = STUDENTS[name]()
    inputs = make_inputs(student, settings.batch)
    row: dict[str, Any] = {"student": name, "batch": settings.batch, "params": student.params}
    row["checks"], row["left_out"] = {}, {}
    steppers = _steppers(student, inputs, settings, row)
    times = interleaved(
        {label: stepper.step for label, stepper in steppers.items()}, settings.repeats, _NO_LIMIT_S
    )
    _add_step(row, student, settings, times)
    if settings.profile:
        row["profile"] = _profile(steppers["ours"])
    steppers.clear()  # the uncut maps alone are 600 MB
    _add_inference(row, student, inputs, settings)
    _add_memory(row, student, settings)
    row["gradient_error"] = row["checks"].get("ours, an image", {}).get("gradients")
    row["gradient_error_of_batch"] = row["checks"].get("ours", {}).get("gradients")
    return row


def _steppers(
    student: BenchStudent, inputs: StepInputs, settings: Settings, row: dict[str, Any]
) -> dict[str, Stepper]:
    """Make the contestants, each of which has shown that it is right."""
    checks = row["checks"]
    tolerance = {"gradients": student.gradient_tolerance, "other": OTHER_TOLERANCE}
    labels = ["ours"]
    if set(student.full) != set(student.last_conv):
        labels.append("ours full")
    steppers: dict[str, Stepper] = {
        label: EngineStepper(student, inputs, _trainable(student, label)) for label in labels
    }
    wanted: Answer | None = None
    if settings.torch:
        from bench.step import torch_rows as rows

        for label, stepper in steppers.items():
            what, trainable = f"{student.name}, {label}", _trainable(student, label)
            found = _differences_of_an_image(student, inputs, trainable)
            checks[f"{label}, an image"] = require(f"{what}, one image", found, STRICT)
            reference = rows.reference(student, inputs, trainable)
            checks[label] = require(what, differences(stepper.answer(), reference), tolerance)
            if label == "ours":
                wanted = reference
    for label, stepper in steppers.items():
        checks[f"{label}, loss"] = falls(f"{student.name}, {label}", stepper, FALL_STEPS)
    if wanted is not None:
        for label, make in _torch_makers(student, inputs, settings).items():
            try:
                stepper = make()
                answer = stepper.answer()
            except Exception as error:
                if label != "compiled":
                    raise
                # a machine without a compiler, or a platform that torch cannot compile for
                row["left_out"][label] = _first_line(error)
                continue
            limit = tolerance
            if label == "literal":
                limit = {
                    key: max(least, tolerance[key]) for key, least in LITERAL_TOLERANCE.items()
                }
            what = f"{student.name}, torch {label}"
            checks[label] = require(what, differences(answer, wanted), limit)
            checks[f"{label}, loss"] = falls(what, stepper, TORCH_FALL_STEPS)
            steppers[label] = stepper
    return steppers


def _trainable(student: BenchStudent, label: str) -> list[str]:
    return student.full if label == "ours full" else student.last_conv


def _differences_of_an_image(
    student: BenchStudent, inputs: StepInputs, trainable: list[str]
) -> dict[str, float]:
    """Our differences from float64 on the first image within STRICT, or on the nearest to it."""
    from bench.step import torch_rows as rows

    found = []
    for i in range(min(STRICT_IMAGES, inputs.batch)):
        image = inputs.part(slice(i, i + 1))
        ours = EngineStepper(student, image, trainable).answer()
        found.append(differences(ours, rows.reference(student, image, trainable)))
        if max(found[-1].values()) <= STRICT["other"]:
            break
    return min(found, key=lambda each: each["gradients"])


def _torch_makers(
    student: BenchStudent, inputs: StepInputs, settings: Settings
) -> dict[str, Callable[[], Stepper]]:
    import torch

    from bench.step import torch_rows as rows

    trainable = student.last_conv
    torch.compiler.reset()
    makers: dict[str, Callable[[], Stepper]] = {
        "literal": lambda: rows.literal(student, inputs, trainable),
        "eager channels_last": lambda: rows.best(student, inputs, trainable),
        "eager nchw": lambda: rows.best(student, inputs, trainable, "nchw"),
    }
    if settings.compiled:
        makers["compiled"] = lambda: rows.best(student, inputs, trainable, compiled=True)
    return makers


def _add_step(
    row: dict[str, Any],
    student: BenchStudent,
    settings: Settings,
    times: dict[str, tuple[float, float]],
) -> None:
    ms, spread = times["ours"]
    rivals = [label for label in times if not label.startswith("ours")]
    best = min(rivals, key=lambda label: times[label][0], default=None)
    macs, full = (count_macs(student, names) for names in (student.last_conv, student.full))
    floor = floor_ms(macs, settings.batch, settings.gflops)
    row |= {
        "step_ms": round(ms, 2),
        "step_spread_ms": round(spread, 2),
        "vs_literal": _ratio(times, "literal", "ours"),
        "vs_best_torch": _ratio(times, best, "ours"),
        "best_torch": best,
        "macs": macs._asdict()
        | {"total": macs.total, "of_full": round(macs.total / full.total, 3)},
        "direct_floor_ms": round(floor, 2),
        "floor_fraction": round(floor / ms, 3),
        "frozen_time_ratio": _ratio(times, "ours", "ours full"),
        "times_ms": {label: round(t[0], 2) for label, t in times.items()},
        "spreads_ms": {label: round(t[1], 2) for label, t in times.items()},
    }


def _add_inference(
    row: dict[str, Any], student: BenchStudent, inputs: StepInputs, settings: Settings
) -> None:
    ours = EngineStepper(student, inputs, ())
    ways: dict[str, Callable[[], Any]] = {"ours": ours.predict}
    if settings.torch:
        import torch

        from bench.step import torch_rows as rows

        torch.compiler.reset()
        wanted = rows.reference_logits(student, inputs)
        ways |= rows.inference_ways(student, inputs, settings.compiled)
        for label in list(ways):
            try:
                found = {"logits": relative(ways[label](), wanted)}
            except Exception as error:
                if "compiled" not in label:
                    raise
                row["left_out"][f"inference, {label}"] = _first_line(error)
                del ways[label]
                continue
            what = f"{student.name}, inference, {label}"
            row["checks"][f"inference, {label}"] = require(what, found, {"other": OTHER_TOLERANCE})
    times = interleaved(ways, settings.repeats, _NO_LIMIT_S)
    best = min(
        (label for label in ways if label != "ours"), key=lambda w: times[w][0], default=None
    )
    row |= {
        "inference_ms": round(times["ours"][0], 2),
        "inference_vs_torch": _ratio(times, best, "ours"),
        "inference_best_torch": best,
        "inference_times_ms": {label: round(t[0], 2) for label, t in times.items()},
    }


def _add_memory(row: dict[str, Any], student: BenchStudent, settings: Settings) -> None:
    row |= dict.fromkeys(_MEMORY_FIGURES) | {"memory": {}}
    if not settings.memory:
        return
    for label in row["times_ms"]:
        found = peak_memory.measure(label, student.name, settings.batch, settings.threads)
        if "error" in found:
            row["left_out"][f"memory, {label}"] = found["error"]
        row["memory"][label] = found
    peaks = {label: (found.get("peak_bytes"), 0.0) for label, found in row["memory"].items()}
    row["memory_ratio"] = _ratio(peaks, "ours", row["best_torch"])
    row["memory_vs_literal"] = _ratio(peaks, "ours", "literal")
    row["frozen_memory_ratio"] = _ratio(peaks, "ours", "ours full")


def _ratio(values: dict[str, tuple[Any, float]], over: str | None, under: str) -> float | None:
    """Divide one contestant's figure by another's; None where either is missing."""
    a, b = (values.get(label, (None,))[0] if label else None for label in (over, under))
    return round(a / b, 3) if a and b else None


def _profile(ours: Stepper) -> list[list[Any]]:
    """Where one of our steps spends its time, over all micro-batches: [operation, phase, ms]."""
    assert isinstance(ours, EngineStepper)
    ours.engine.set_profiling(True)
    ours.step()  # a warm one
    ours.engine.profile()  # takes and forgets it
    ours.step()
    spent: dict[tuple[str, str], float] = {}
    for name, phase, ms in ours.engine.profile():
        spent[str(name), str(phase)] = spent.get((str(name), str(phase)), 0.0) + float(ms)
    ours.engine.set_profiling(False)
    return [[name, phase, ms] for (name, phase), ms in spent.items()]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
