"""Time learning a category from statistics: from the call to the new classifier.

    python -m bench.learn_category [--threads 2] [--rounds 5] [--images 500] [--student resnet4]

The student is one of the paper's, of made-up weights, since time does not depend on them; beside
the whole call stands `predict` of the same images, the pass that it cannot do without.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import pyedge
from bench.shared.arguments import positive
from bench.shared.students import WIDTHS, make_student
from bench.shared.timing import machine
from pyedge.student.file import StudentFile

_BASE = 60  # images of each class in the statistics: enough for random features to be used


def described(name: str, expand: int | None) -> StudentFile:
    """A student with statistics of images that differ by class in one column."""
    made = make_student(name)
    student = StudentFile(
        nodes=tuple(made.nodes),
        arrays=made.arrays,
        input_shape=made.input_shape,
        output=made.output,
        taps=(),
        kept=(),
        teacher_channels=(),
        last_convs=(),
        classifier=made.classifier,
        trainable=(made.classifier,),
        classes=tuple(f"class {i}" for i in range(made.classes)),
    )
    labels = np.repeat(np.arange(made.classes), _BASE)
    pixels = photographs(len(labels), student.input_shape, labels)
    names = [student.classes[i] for i in labels]
    return pyedge.add_statistics(student, pixels, names, expand=expand)


def photographs(count: int, shape: tuple[int, int, int], labels: np.ndarray) -> np.ndarray:
    """Pixels uint8 [count, c, h, w], with a bright column for each label."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)
    pixels[np.arange(count), :, :, labels % shape[2]] = 255
    return pixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--student", choices=sorted(WIDTHS), default="resnet4")
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--images", type=positive, default=500)
    args = parser.parse_args()
    print(machine(None))
    for expand in (None, 100):
        student = described(args.student, expand)
        count = args.images
        pixels = photographs(count, student.input_shape, np.full(count, 20))
        learned, predicted = [], []
        for _ in range(args.rounds):
            learner = pyedge.EdgeLearner(student, threads=args.threads)
            learner.add_classes(["new"])
            learner.predict(pixels[:2])
            began = time.perf_counter()
            learner.learn(pixels, ["new"] * count)
            learned.append(time.perf_counter() - began)
            began = time.perf_counter()
            learner.predict(pixels)
            predicted.append(time.perf_counter() - began)
        assert student.statistics is not None
        print(
            f"{args.student}, {student.statistics.features} features, {count} images, "
            f"{args.threads} threads: learn {statistics.median(learned):.3f} s, "
            f"predict {statistics.median(predicted):.3f} s"
        )


if __name__ == "__main__":
    main()
