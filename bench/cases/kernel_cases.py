"""What bench/kernels.py measures: each kernel on one group's maps, and torch's ways of the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyedge import kernels

try:
    import torch

    from bench.cases import torch_ways as ways
    from bench.shared import torch_matching
except ImportError:  # our rows alone then
    torch = None  # type: ignore[assignment]

CANDIDATES = 4


@dataclass
class Case:
    """One kernel on one input: ours, torch's ways, and the bytes that must move."""

    kernel: str
    bytes_moved: int
    ours: Callable[[], Any]
    right: Callable[[Any], bool]  # our answer, against numpy and float64
    agree: Callable[[Any, Any], bool]  # our answer and torch's
    eager: Callable[[], Any] | None = None
    better: dict[str, Callable[[], Any]] = field(default_factory=dict)


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


def match_truth(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines, and the gradient for the best teacher, in float64."""
    student, kept = inputs.student, inputs.kept

    def dot(a: np.ndarray, b: np.ndarray) -> float:
        # An image at a time: float64 copies of whole batches would not fit a phone.
        return sum(
            float(np.einsum("chw,chw", p, q, dtype=np.float64)) for p, q in zip(a, b, strict=True)
        )

    s_norm = dot(student, student) ** 0.5
    norms = [dot(t, t) ** 0.5 for t in inputs.teachers]
    cosines = np.array(
        [
            dot(t[:, kept], student) / (norm * s_norm)
            for t, norm in zip(inputs.teachers, norms, strict=True)
        ]
    )
    best = int(cosines.argmax())
    distance = (2 - 2 * cosines[best]) ** 0.5
    direction = (
        inputs.teachers[best][:, kept].astype(np.float64) / norms[best]
        - cosines[best] / s_norm * student
    )
    return cosines, -direction / (distance * s_norm)


def make_cases(inputs: Inputs, compiled: bool) -> list[Case]:
    """Pair each kernel with the truth, and with torch's ways of doing the same."""
    x, t, s = inputs.activation, inputs.teachers[0], inputs.student
    area = x.shape[2] * x.shape[3]
    zeros = (x == 0).sum((2, 3))
    affine = inputs.scale[:, None, None] * t + inputs.shift[:, None, None]
    off = (affine <= 0).sum((2, 3))
    cosines, gradient = match_truth(inputs)
    size = np.abs(gradient).max()
    match_bytes = CANDIDATES * t.nbytes + s.nbytes
    cases = [
        Case(
            "zero_count",
            x.nbytes,
            ours=lambda: kernels.zero_count(x),
            right=lambda ours: np.array_equal(ours, zeros),
            agree=lambda ours, other: _near_fractions(ours, other, area),
        ),
        Case(
            "zero_count_affine",
            t.nbytes,
            ours=lambda: kernels.zero_count_affine(t, inputs.scale, inputs.shift),
            right=lambda ours: np.array_equal(ours, off),
            agree=lambda ours, other: _near_fractions(ours, other, area),
        ),
        Case(
            "cosine_match",
            match_bytes,
            ours=lambda: kernels.cosine_match(s, inputs.teachers, inputs.kept),
            right=lambda ours: np.allclose(ours.cosine, cosines, rtol=0, atol=1e-13),
            agree=lambda ours, other: _near(ours.cosine, np.array([float(c) for c in other[::2]])),
        ),
        # The gradient reads the kept channels and the student, and writes as much.
        Case(
            "cosine_match_grad",
            match_bytes + 3 * s.nbytes,
            ours=lambda: match_and_gradient(inputs),
            right=lambda ours: (
                np.allclose(ours[0], cosines, rtol=0, atol=1e-13)
                and np.allclose(ours[1], gradient, rtol=1e-6, atol=1e-6 * size)
            ),
            agree=lambda ours, other: all(
                _near(a, b.numpy()) for a, b in zip(ours, other, strict=True)
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
            compile_(torch_matching.closed_sums),
            compile_(torch_matching.closed_gradient),
        )
    return (
        (quiet(ways.zero_literal, x), zero),
        (quiet(ways.affine_literal, t, scale, shift), affine),
        (quiet(ways.match_literal, s, ts, kept), match),
        (lambda: ways.match_grad_literal(s, ts, kept), grad),
    )


def _near_fractions(counts: np.ndarray, fractions: Any, area: int) -> bool:
    # A fused multiply-add (torch.compile) may see an element within an ulp of 0 otherwise.
    return bool(np.abs(counts / area - fractions.numpy()).max() <= 2.0 / area)


def _near(ours: np.ndarray, other: np.ndarray) -> bool:
    # Loose for torch's sake: its float32 norm of 20 million values is off by 1e-3.
    return bool(np.abs(ours - other).max() <= 1e-2 * np.abs(ours).max())
