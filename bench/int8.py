"""A trained network of 56 layers in 8 bits: accuracy, bytes, time, and how its scales are chosen.

    python -m bench.int8 [--images ARCHIVE] [--teacher FILE] [--cache FOLDER] [--test N] [--json]

The CIFAR ResNet-56 of bench.learning (853,018 parameters, nothing cut) on that benchmark's images
of CIFAR-10's test set: 300 of each class choose, the other 700 are reported on. 256 training images
tell how large the numbers are that each layer reads. `share` is the part of the images whose
largest number a scale holds; 1 is what `pyedge.add_int8` does. Needs torch, to read the weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pyedge
from bench.learning.features import ids, pixels
from bench.learning.images import load
from bench.learning.teachers import DEFAULT_FOLDER
from bench.precision import file_size
from bench.shared.arguments import positive
from bench.shared.timing import machine
from pyedge import kernels
from pyedge.data import ImageSet
from pyedge.edge.add_int8 import with_int8
from pyedge.images.edge_images import EdgeImages
from pyedge.student.builder import GraphBuilder
from pyedge.student.file import StudentFile

SHARES = (1.0, 0.99, 0.9, 0.5)
_GROUPS, _BLOCKS = 3, 9


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    options = _parse(arguments)
    kernels.set_num_threads(1)
    state = torch.load(options.teacher, weights_only=True)
    student = whole_network({name: value.numpy() for name, value in state.items()})
    parts = load("cifar10", options.images, options.cache)
    seen = EdgeImages.of(pixels(parts.train)[:: len(parts.train) // 256], student.input_shape)
    rounded = {share: with_int8(student, seen, "bench.int8", share=share) for share in SHARES}
    chosen = [
        {"share": share, "val": _right(each, "int8", parts.val, None)[0]}
        for share, each in rounded.items()
    ]
    rows = []
    ways = ((student, "float32"), (student, "half"), (rounded[1.0], "float32"),
            (rounded[1.0], "int8"))  # fmt: skip
    for file, precision in ways:
        if precision == "half" and kernels.half_type() is None:
            continue
        accuracy, seconds = _right(file, precision, parts.test, options.test)
        rows.append({
            "weights": "int8" if file.weight_scales else "float32",
            "precision": precision,
            "accuracy": accuracy,
            "ms_an_image": 1e3 * seconds,
            "bytes": file_size(file),
        })  # fmt: skip
    facts = {**machine(None), "int8": kernels.int8_type()}
    if options.json:
        print(json.dumps({"machine": facts, "rows": rows, "shares": chosen}, indent=1))
        return
    print(f"{facts['cpu']}, {facts['isa']}, {facts['int8']}, 1 thread, processor time")
    for row in rows:
        print(
            f"weights {row['weights']:8} computed in {row['precision']:8} {row['accuracy']:6.2f} %"
            f" {row['ms_an_image']:6.2f} ms an image {row['bytes']:>10,} bytes"
        )
    for row in chosen:
        print(f"share {row['share']:4}: {row['val']:.2f} % of the validation images")


def whole_network(state: Mapping[str, np.ndarray]) -> StudentFile:
    """Build a student of every block of the file's ResNet-56 (shortcuts without parameters)."""
    build = GraphBuilder((3, 32, 32))

    def conv(name: str, norm: str, source: int, stride: int = 1) -> int:
        weight = state[f"{name}.weight"]
        x = build.conv(name, source, weight, stride=(stride, stride), padding=(1, 1))
        fields = {"weight": "weight", "bias": "bias", "mean": "running_mean",
                  "variance": "running_var"}  # fmt: skip
        numbers = {field: state[f"{norm}.{there}"] for field, there in fields.items()}
        return build.add("batch_norm", norm, [x], **numbers, eps=1e-5)

    x = build.add("relu", "relu", [conv("conv1", "bn1", 0)])
    for group in range(1, _GROUPS + 1):
        for block in range(_BLOCKS):
            name = f"layer{group}.{block}"
            stride = 2 if group > 1 and block == 0 else 1
            y = conv(f"{name}.conv1", f"{name}.bn1", x, stride)
            y = build.add("relu", f"{name}.relu", [y])
            y = conv(f"{name}.conv2", f"{name}.bn2", y)
            if stride == 2:  # every second pixel, with zeros before and behind the channels
                inside = build.shape(x)[0]
                same = np.eye(inside, dtype=np.float32)[:, :, None, None]
                x = build.conv(f"{name}.pixels", x, same, stride=(2, 2), padding=(0, 0))
                places = np.arange(inside // 2, inside // 2 + inside, dtype=np.int32)
                x = build.add(
                    "channel_pad", f"{name}.pad", [x], position=places, channels=2 * inside
                )
            x = build.add("relu", name, [build.add("add", f"{name}.add", [y, x])])
    x = build.add("flatten", "flat", [build.add("global_avg_pool", "pool", [x])])
    x = build.add("linear", "linear", [x], weight=state["linear.weight"], bias=state["linear.bias"])
    return StudentFile(
        nodes=tuple(build.nodes), arrays=build.arrays, input_shape=(3, 32, 32), output=x, taps=(),
        kept=(), teacher_channels=(), last_convs=(), classifier="linear", trainable=("linear",),
        classes=tuple(str(i) for i in range(10)),
    )  # fmt: skip


def _right(
    student: StudentFile, precision: Any, images: ImageSet, most: int | None
) -> tuple[float, float]:
    """Return per cent of images that are right, and seconds of processor time an image."""
    learner = pyedge.EdgeLearner(student, precision=precision, threads=1)
    given, labels = pixels(images)[:most], ids(images)[:most]
    begin = time.process_time()
    found = learner.logits(given).argmax(1)
    seconds = (time.process_time() - begin) / len(given)
    return round(100 * float((found == labels).mean()), 2), seconds


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.int8", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--images", type=Path, help="the archive, as in bench.learning")
    parser.add_argument(
        "--teacher",
        type=Path,
        default=DEFAULT_FOLDER / "resnet56_cifar10.pt",
        help="the weights, as there",
    )
    parser.add_argument("--cache", type=Path, default=Path("build/learning"))
    parser.add_argument("--test", type=positive, metavar="N", help="test images (all 7,000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
