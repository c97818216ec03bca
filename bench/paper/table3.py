"""Table 3: steps until a student has converged: labels alone, the paper's transfer, FitNet.

The paper's students for each of the three; beside them inheritance and transfer apart, since a
student that inherits starts near its goal, whatever teaches it then. A rate that falls to zero
ends each run at its last steps, whatever the system. So there are two goals, what labels alone
reach in as many steps and in four times as many, and transfer has rows of a quarter of the steps,
whose rate falls in its own time.
"""

from __future__ import annotations

from functools import partial

from bench.paper.convergence import converged_at, reached_at
from bench.paper.cutting import Cutting
from bench.paper.rows import Figures, Row, Workshops, accuracies
from bench.paper.systems import (
    ALONE_LONGER,
    AS_WRITTEN,
    AS_WRITTEN_SHORTER,
    FITNET,
    INDEPENDENT,
    SHORTER,
    TRANSFER,
    System,
)
from bench.paper.workshop import Workshop

WORLDS = ("cifar", "caltech")


def rows(shops: Workshops) -> list[Row]:
    """Return three rows of the paper and six of ours for each student."""
    found = []
    for world in WORLDS:
        shop = shops.of(world)
        for P in shop.world.learned:
            fresh, last = Cutting(P, init="fresh"), Cutting(P, keep="last")
            for name, cutting, system, ours in (
                ("independent", fresh, INDEPENDENT, False),
                ("transfer", last, AS_WRITTEN, False),
                ("FitNet", fresh, FITNET, False),
                ("independent, four times as long", fresh, ALONE_LONGER, True),
                ("transfer, a quarter as long", last, AS_WRITTEN_SHORTER, True),
                ("inherited, labels alone", Cutting(P), INDEPENDENT, True),
                ("fresh weights, transfer", fresh, TRANSFER, True),
                ("inherited, transfer", Cutting(P), TRANSFER, True),
                ("inherited, transfer, a quarter as long", Cutting(P), SHORTER, True),
            ):
                label = f"{shop.world.student_name(P)}: {name}"
                run = partial(_steps, shop, P, cutting, system)
                found.append(Row(world, label, run, ours=ours))
    return found


def _steps(shop: Workshop, P: float, cutting: Cutting, system: System, seed: int) -> Figures:
    """Steps at the best validation, and to the two goals: the best that labels alone reach.

    Those of FitNet's first stage count.
    """
    fresh = Cutting(P, init="fresh")
    alone = shop.taught(fresh, INDEPENDENT, seed).figures
    longer = shop.taught(fresh, ALONE_LONGER, seed).figures
    found = shop.taught(cutting, system, seed).figures
    before = found["steps_before"]

    def steps_to(goal: Figures) -> int | None:
        best = max(row["val_accuracy"] for row in goal["history"])
        reached = reached_at(found["history"], best)
        return None if reached is None else before + reached

    return {
        **accuracies(found),
        "steps": before + converged_at(found["history"]),
        "steps_of_alone": converged_at(alone["history"]),
        "steps_to_alone": steps_to(alone),
        "steps_of_goal": converged_at(longer["history"]),
        "steps_to_goal": steps_to(longer),
    }
