"""Write tests/vectors/*.npz: what torch, in float64, answers for small students of each family.

    python tools/make_vectors.py

Machines without torch test the engine against them (tests/engine/test_vectors.py); that they are
what this makes is tests/engine/test_vectors_made.py's to show.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pyedge import models  # noqa: E402
from tests.support.engine_graphs import Graph  # noqa: E402
from tests.support.engine_lessons import Lesson, make_images, make_lesson  # noqa: E402
from tests.support.engine_oracle import TorchGraph, torch_optimizer  # noqa: E402
from tests.support.engine_students import lowered_graph  # noqa: E402
from tests.support.vector_file import (  # noqa: E402
    FAMILIES,
    FOLDER,
    STEPS,
    WAYS,
    Answer,
    Vectors,
    Way,
    write_vectors,
)

IMAGES = 2
SIZES = {"wrn": 16, "resnet": 16, "vgg": 32}
# nearer to a ReLU's bend, float32 may fall to its other side, and all that follows differs
KINK = 3e-6


def make_model(family: str) -> torch.nn.Module:
    """Make a teacher so small that its student has some thousand weights."""
    if family == "wrn":
        return models.wrn(10, 5, widths=(6, 8, 13), stem=5)
    if family == "resnet":
        return models.resnet18(5, small_input=True, width=3)
    return models.vgg11(5, input_size=32, hidden=None, width=3)


def make_vectors(family: str) -> Vectors:
    """Compress a teacher, and find a lesson that stays away from bends while it is learned."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        graph = lowered_graph(make_model(family), SIZES[family], P=0.75)
    layers = {way: graph.layers(how.layers) for way, how in WAYS.items()}
    for seed in range(200):
        # as float16 has them, in which they are stored
        images = make_images(graph, IMAGES, seed).astype(np.float16).astype(np.float32)
        lesson = make_lesson(graph, IMAGES, seed, dtype="float16")
        with torch.no_grad():
            plain = TorchGraph(graph)
            logits = plain(images)[0].numpy()
        found = {way: solve(graph, layers[way], how, images, lesson) for way, how in WAYS.items()}
        if min(plain.kink, *(kink for _, kink in found.values())) > KINK:
            answers = {way: answer for way, (answer, _) in found.items()}
            return Vectors(graph, layers, images, lesson, logits, answers)
    raise AssertionError(f"{family}: no lesson without a bend")


def solve(
    graph: Graph, layers: list[str], how: Way, images: np.ndarray, lesson: Lesson
) -> tuple[Answer, float]:
    """Learn in torch and float64; return the answers, and how near they came to a bend."""
    learned = graph.learned(layers)
    twin = TorchGraph(graph, learned, how.batch_norm == "batch")
    weights = [twin.arrays[name] for name in learned]
    optimizer = torch_optimizer(weights, how.optimizer)
    optimizer.param_groups[0]["lr"] = how.lr
    first, kink = None, math.inf
    for _ in range(STEPS):
        found = twin.solve(images, lesson)
        if first is None:
            gradients = {name: value.copy() for name, value in found.gradients.items()}
            first = found
        kink = min(kink, found.kink)
        torch.nn.utils.clip_grad_norm_(weights, how.optimizer["clip"])
        optimizer.step()
    assert first is not None
    after = {
        name: twin.arrays[name].detach().numpy().copy()
        for name, array in graph.arrays.items()
        if array.dtype == np.float32 and not np.array_equal(array, twin.arrays[name].detach())
    }
    last = twin.solve(images, lesson)  # after the weights: it moves running statistics on
    answer = Answer(first.losses, first.pairs, gradients, last.losses["loss"], after)
    return answer, min(kink, last.kink)


def main() -> int:
    """Write a file for each family, and print its size."""
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for family in FAMILIES:
        path = FOLDER / f"{family}.npz"
        write_vectors(path, make_vectors(family))
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
