"""Images of classes that a student does not know: told by distance, softmax or energy.

`python -m bench.unknown --data cifar10 --json`. The students are those of `bench.learning`, made
there if the cache has none: "9+1" knows nine classes, and the tenth is unknown; "5x2" knows two.
The statistics have the device's images of the known classes, and validation images are held, as at
export; figures are of test images, known ones and as many classes of unknown ones as there are.

distance: `predict(unknown=True)`, relative Mahalanobis distances (Ren et al. 2021). max softmax
(Hendrycks and Gimpel 2017) and energy (Liu et al. 2020) are of the trained classifier's logits.
AUROC: how often an unknown image looks more unknown than a known one. FPR at 95 %: the share of
unknown images taken for known where 95 % of the known test images are. passed, caught: the shares
of known images that `unknown` leaves alone, and of unknown ones that it flags, at the threshold
that was chosen at export.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import pyedge
from bench.learning import images, protocols, teachers
from bench.learning.engine_methods import names
from bench.learning.features import ids, pixels
from bench.learning.method import softmax
from bench.learning.run import Asked, Run, make_run
from bench.shared.timing import machine
from pyedge.data import ImageSet

Floats = NDArray[np.floating]
_COVERAGE = 0.95


def auroc(known: Floats, unknown: Floats) -> float:
    """Return how often a score of an unknown image is above one of a known one; equal: a half."""
    both = np.concatenate([known, unknown])
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[place][len(known) :]  # mean rank of those that are equal
    above = ranks.sum() - len(unknown) * (len(unknown) + 1) / 2
    return float(above / (len(known) * len(unknown)))


def false_positives(known: Floats, unknown: Floats) -> float:
    """Return the share of unknown images taken for known, where _COVERAGE of the known are."""
    return float((unknown <= np.quantile(known, _COVERAGE, method="higher")).mean())


def scores(run: Run) -> dict[str, dict[str, float]]:
    """Return the figures of one student, in per cent, by method."""
    base, test = run.start.protocol.base, run.test
    known = ids(test) < base
    plain = pyedge.EdgeLearner(run.start.made.base, threads=1)
    logits = plain.logits(pixels(test)).astype(np.float64)
    top = logits.max(axis=1)
    energy = -(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))
    begun = pyedge.add_statistics(
        plain.student,
        pixels(run.start.base),
        names(run.start.base),
        held=_held(run.start.val, base),
        expand="auto",
    )
    found = pyedge.EdgeLearner(begun, threads=1).predict(pixels(test), unknown=True)
    rows = {
        "distance": _figures(found.distances, known),
        "max softmax": _figures(-softmax(logits).max(axis=1), known),
        "energy": _figures(energy, known),
    }
    rows["distance"]["passed"] = 100 * float((~found.unknown[known]).mean())
    rows["distance"]["caught"] = 100 * float(found.unknown[~known].mean())
    return rows


def _held(val: ImageSet, base: int) -> tuple[Any, list[str]]:
    chosen = np.flatnonzero(ids(val) < base)
    labels = names(val)
    return pixels(val)[chosen], [labels[each] for each in chosen]


def _figures(score: Floats, known: NDArray[np.bool_]) -> dict[str, float]:
    pair = score[known], score[~known]
    return {"auroc": 100 * auroc(*pair), "fpr_at_95": 100 * false_positives(*pair)}


def table(asked: Asked) -> list[dict[str, Any]]:
    """Return a row for each method: means and sample deviations over the seeds."""
    found = [scores(make_run(asked, seed)) for seed in asked.seeds]
    rows = []
    for method in found[0]:
        row: dict[str, Any] = {"data": asked.data, "protocol": asked.protocol, "method": method}
        for name in found[0][method]:
            values = np.array([each[method][name] for each in found])
            row[name] = round(float(values.mean()), 2)
            if len(values) > 1:
                row[f"{name}_deviation"] = round(float(values.std(ddof=1)), 2)
        rows.append({**row, "seeds": len(found)})
    return rows


def _text(row: dict[str, Any]) -> str:
    cells = [
        f"{title} {row[name]:5.1f}" + (f" +- {row[f'{name}_deviation']:.1f}" if more else "")
        for name, title in (
            ("auroc", "AUROC"), ("fpr_at_95", "FPR at 95 %"), ("passed", "passed"),
            ("caught", "caught"),
        )
        if name in row
        for more in (f"{name}_deviation" in row,)
    ]  # fmt: skip
    return f"{row['data']:8} {row['protocol']} {row['method']:12} {', '.join(cells)}"


def main() -> int:
    """Make the students that are not there, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.unknown", description=__doc__)
    parser.add_argument("--data", choices=images.DATA, required=True)
    parser.add_argument("--protocol", choices=protocols.NAMES, help="both if left out")
    parser.add_argument("--seeds", type=int, default=3, help="students of so many seeds")
    parser.add_argument("--cache", type=Path, default=Path("build/learning"))
    parser.add_argument("--images", type=Path, help="the archive; default: in ../shared/data")
    parser.add_argument(
        "--teacher", type=Path, default=teachers.DEFAULT_FOLDER / "resnet56_cifar10.pt"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error(f"--seeds: wanted a number from 1, got {args.seeds}")
    torch.set_num_threads(1)
    rows = []
    for protocol in [args.protocol] if args.protocol else protocols.NAMES:
        asked = Asked(
            data=args.data,
            protocol=protocol,
            seeds=tuple(range(args.seeds)),
            cache=args.cache,
            archive=args.images,
            teacher=args.teacher,
            per_class=1000,
        )
        rows += table(asked)
    for row in rows:
        print(_text(row), file=sys.stderr if args.json else sys.stdout, flush=True)
    if args.json:
        print(json.dumps({"machine": machine(torch), "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
