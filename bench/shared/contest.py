"""What a contestant in bench/edge_step.py can do, and what its answers are checked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

LR = 0.01
OPTIMIZER: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
CLIP = 5.0
LOSSES = ("loss", "J_1", "J_b", "J_3")


@dataclass(frozen=True)
class Answer:
    """The LOSSES of one batch, and the gradient of each array that learns, before clipping."""

    losses: dict[str, float]
    gradients: dict[str, np.ndarray]


class Stepper(Protocol):
    """One way of doing the step."""

    def answer(self) -> Answer:
        """Compute losses and gradients; change no weight."""

    def step(self) -> float:
        """Do one whole step, weights included; return the loss before it."""


def differences(came: Answer, wanted: Answer) -> dict[str, float]:
    """Relative differences: of each loss, and of each gradient in norm (the largest of them)."""
    result = {
        name: abs(value - wanted.losses[name]) / abs(wanted.losses[name])
        for name, value in came.losses.items()
    }
    if came.gradients.keys() != wanted.gradients.keys():
        odd = sorted(came.gradients.keys() ^ wanted.gradients.keys())
        raise ValueError(f"differences: gradients of other arrays came: {', '.join(odd)}")
    result["gradients"] = max(
        relative(gradient, wanted.gradients[name]) for name, gradient in came.gradients.items()
    )
    return result


def relative(came: np.ndarray, wanted: np.ndarray) -> float:
    """|came - wanted| / |wanted| in the l2 norm; inf for another shape."""
    if came.shape != wanted.shape:
        return math.inf
    wanted = wanted.astype(np.float64)
    return float(np.linalg.norm(came - wanted) / np.linalg.norm(wanted))


def require(
    what: str, found: Mapping[str, float], tolerance: Mapping[str, float]
) -> dict[str, float]:
    """Stop the benchmark where a difference is above its tolerance; NaN is. Returns `found`."""
    limits = {name: tolerance.get(name, tolerance["other"]) for name in found}
    bad = [name for name, value in found.items() if not value <= limits[name]]
    if bad:
        listed = ", ".join(f"{n} {found[n]:.2g} (allowed {limits[n]:g})" for n in bad)
        raise SystemExit(f"bench: {what} is wrong by {listed}")
    return dict(found)


def falls(what: str, stepper: Stepper, steps: int) -> tuple[float, float]:
    """Take steps on the one batch; stop the benchmark unless the loss falls. Returns both ends."""
    losses = [stepper.step() for _ in range(steps)]
    if not (math.isfinite(losses[-1]) and losses[-1] < losses[0]):
        raise SystemExit(
            f"bench: the loss of {what} does not fall in {steps} steps: "
            f"{losses[0]:.4f} -> {losses[-1]:.4f}"
        )
    return losses[0], losses[-1]
