"""How a student is cut out of its teacher."""

from __future__ import annotations

from dataclasses import dataclass

import pyedge
from pyedge.cloud.compression.depth import Keep
from pyedge.cloud.compression.plan import Plan
from pyedge.cloud.compression.widths import mean_zero_fraction

_STEPS = 1000


@dataclass(frozen=True)
class Cutting:
    """P: the filter pruning threshold. keep: the block that stays; "last" is the paper's.

    init: "inherit" or "fresh" weights. shared: filters go by one order over all layers, as many as
    make a student of the same size, and not layer by layer.
    """

    P: float
    keep: Keep = "first"
    init: str = "inherit"
    shared: bool = False


def plan_student(teacher, images, cutting: Cutting, seed: int, max_images: int) -> Plan:  # type: ignore[no-untyped-def]
    """Plan a student; images: a loader."""
    settings = {
        "keep": cutting.keep,
        "init": cutting.init,
        "seed": seed,
        "max_images": max_images,
    }
    plan = pyedge.plan(teacher, cutting.P, images, **settings)
    if not cutting.shared:
        return plan
    return pyedge.plan(teacher, images=images, widths=shared_widths(plan), **settings)


def shared_widths(plan: Plan) -> list[int]:
    """Return widths that no more parameters than the plan's, from one order over all filters.

    The threshold on the filters' mean zero fraction is the same in each layer; the plan's own rule
    counts, image by image, how many filters lie above P.
    """
    means = [mean_zero_fraction(s, plan.profile, plan.shallow.source) for s in plan.sets]

    def widths(step: int) -> list[int]:
        return [
            each.filters
            if each.fixed or mean is None
            else max(1, int((mean <= step / _STEPS).sum()))
            for each, mean in zip(plan.sets, means, strict=True)
        ]

    low, high = 0, _STEPS  # parameters grow with the threshold
    while low < high:
        middle = (low + high + 1) // 2
        fits = plan.cost.params(widths(middle)) <= plan.params
        low, high = (middle, high) if fits else (low, middle - 1)
    return widths(low)
