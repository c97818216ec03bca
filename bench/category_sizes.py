"""Category files of each detail: bytes, and accuracy against the images themselves.

`python -m bench.category_sizes STUDENT --new 9` for a student of digits that knows no 9 well; of
several students (and as many new classes, with commas between) the rows are means. With --features
FILE.npz (train_f, train_y, test_f, test_y, new) it takes features as they are.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyedge.statistics.category_file import read_category, write_category
from pyedge.statistics.gaussian import Gaussian
from pyedge.statistics.grid import rounded, step_for
from pyedge.statistics.heads import Form, solved
from pyedge.statistics.merging import merged
from pyedge.statistics.sums import Statistics, of_values

DETAILS = (("mean", 32), ("low_rank", 4), ("low_rank", 16), ("low_rank", 32), ("full", 32))
Row = tuple[str, float, float, float, float]  # detail, bytes, old, new, all: in percent


def of_student(path: str, new: int) -> list[Row]:
    """Teach a student of digits a class by images, and by category files of them."""
    import pyedge
    from pyedge.data import load_digits

    train, _, test = load_digits()
    x, y = train.images.numpy(), train.labels.numpy()
    old = y != new
    student = pyedge.add_statistics(path, x[old], y[old])
    name = student.classes[new]

    def row(title: str, size: float, learner: pyedge.EdgeLearner) -> Row:
        found = learner.evaluate(test.images.numpy(), test.labels.numpy())
        parts = found.old_and_new([new])
        return title, size, 100 * parts["old"], 100 * parts["new"], 100 * found.accuracy

    taught = pyedge.EdgeLearner(student)
    taught.learn(x[~old], y[~old], method="statistics")
    rows = [row("images", float(x[~old].nbytes), taught)]
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "new.category")
        for detail, rank in DETAILS:
            pyedge.make_category(student, x[~old], name, file, detail=detail, rank=rank)
            learner = pyedge.EdgeLearner(student)
            learner.add_category(file)
            rows.append(row(_title(detail, rank), os.path.getsize(file), learner))
    return rows


def of_features(path: str) -> list[Row]:
    """The same on stored features, for one form of classifier."""
    with np.load(path) as data:
        x, y = data["train_f"], data["train_y"].astype(np.int64)
        test, truth, new = data["test_f"], data["test_y"], int(data["new"][0])
    names = [str(i) for i in range(int(y.max()) + 1)]
    old, step, digest = y != new, step_for(x), "0" * 64
    values = rounded(x, step).values
    source: dict[str, Any] = {"digest": digest, "step": step}
    known = of_values(values[old], y[old], names, pooled=True, **source)

    def row(title: str, size: float, more: Statistics) -> Row:
        head = solved(Gaussian.of(merged([known, more]), names), Form("discriminant", 0.03))
        right = (test @ head.weight.T + head.bias).argmax(axis=1) == truth
        of_new = truth == new
        shares = right[~of_new].mean(), right[of_new].mean(), right.mean()
        return title, size, *(100 * float(share) for share in shares)

    images = of_values(values[~old], y[~old], names, pooled=False, **source)
    rows = [row("features", float(x[~old].nbytes), images)]
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "new.category")
        for detail, rank in DETAILS:
            write_category(file, values[~old], names[new], detail=detail, rank=rank, **source)
            rows.append(row(_title(detail, rank), os.path.getsize(file), read_category(file)))
    return rows


def _title(detail: str, rank: int) -> str:
    return f"{detail} {rank}" if detail == "low_rank" else detail


def print_means(tables: Sequence[list[Row]]) -> None:
    """Print the mean of the tables, row by row."""
    print(f"{'':12}{'bytes':>10}{'old':>8}{'new':>8}{'all':>8}")
    for rows in zip(*tables, strict=True):
        size, *shares = np.mean([row[1:] for row in rows], axis=0)
        print(f"{rows[0][0]:12}{size:>10,.0f}" + "".join(f"{share:>8.1f}" for share in shares))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("students", nargs="*", metavar="STUDENT", help="students of digits")
    parser.add_argument("--new", default="", metavar="N,N", help="the new class of each student")
    parser.add_argument("--features", metavar="FILE", help="features in an .npz, in their place")
    args = parser.parse_args()
    new = [int(each) for each in args.new.split(",") if each]
    if args.features is None and (len(new) != len(args.students) or not new):
        parser.error("--new must have a class for each student")
    if args.features is not None:
        print_means([of_features(args.features)])
    else:
        print_means([of_student(*each) for each in zip(args.students, new, strict=True)])


if __name__ == "__main__":
    main()
