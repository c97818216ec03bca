"""Table 3: steps until a student has converged: labels alone, the paper's transfer, FitNet.

The paper's students for each of the three; beside them inheritance and transfer apart, since a
student that inherits starts near its goal, whatever teaches it then. A rate that falls to zero
ends each run at its last steps, whatever the system; so the goal is what labels alone reach in four
times as many steps.
"""

from __future__ import annotations

from functools import partial

from bench.paper.convergence import converged_at, reached_at
from bench.paper.cutting import Cutting
from bench.paper.rows import Figures, Row, Workshops, accuracies
from bench.paper.systems import (
    ALONE_LONGER,
    AS_WRITTEN,
    FITNET,
    INDEPENDENT,
    TRANSFER,
    System,
)
from bench.paper.workshop import Workshop

WORLDS = ("cifar", "caltech")


def rows(shops: Workshops) -> list[Row]:
    """Return three rows of the paper and four of ours for each student."""
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
                ("inherited, labels alone", Cutting(P), INDEPENDENT, True),
                ("fresh weights, transfer", fresh, TRANSFER, True),
                ("inherited, transfer", Cutting(P), TRANSFER, True),
            ):
                label = f"{shop.world.student_name(P)}: {name}"
                run = partial(_steps, shop, P, cutting, system)
                found.append(Row(world, label, run, ours=ours))
    return found


def _steps(shop: Workshop, P: float, cutting: Cutting, system: System, seed: int) -> Figures:
    """Steps at the best validation, and to the best that labels alone reach in four times as many.

    Those of FitNet's first stage count.
    """
    alone = shop.taught(Cutting(P, init="fresh"), ALONE_LONGER, seed).figures
    found = shop.taught(cutting, system, seed).figures
    goal = max(row["val_accuracy"] for row in alone["history"])
    reached, before = reached_at(found["history"], goal), found["steps_before"]
    return {
        **accuracies(found),
        "steps": before + converged_at(found["history"]),
        "steps_of_goal": converged_at(alone["history"]),
        "steps_to_goal": None if reached is None else before + reached,
    }
