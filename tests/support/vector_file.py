"""Answers of torch in float64 that are stored, for machines without torch: tests/vectors/*.npz.

A file holds a small student, a batch, what a teacher says of it, and for each way of learning the
losses, gradients and, after some steps, weights. tools/make_vectors.py writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.engine_graphs import Graph
from tests.support.engine_lessons import Lesson

FOLDER = Path(__file__).parents[1] / "vectors"
FAMILIES = ("wrn", "resnet", "vgg")
STEPS = 10
# what the engine promises of logits and gradients, relative to their norm
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Way:
    """How a student learns: where batch norm's statistics come from, which layers, how."""

    batch_norm: str
    layers: str
    lr: float
    optimizer: Mapping[str, Any]


SGD = {"kind": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "clip": 5.0}
ADAM = {"kind": "adam", "weight_decay": 1e-3, "clip": 0.5}
WAYS = {
    "last_conv": Way("frozen", "last_conv", 2e-3, SGD),
    "full": Way("batch", "full", 1e-3, ADAM),
}


@dataclass(frozen=True)
class Answer:
    """One way's answers: the first step's losses, pairs and gradients; losses and weights after."""

    losses: dict[str, float]
    pairs: list[int]
    gradients: dict[str, NDArray[Any]]
    last_loss: float
    weights: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Vectors:
    """A student, a lesson, and torch's answers. layers: nodes that learn, by their way's name."""

    graph: Graph
    layers: dict[str, list[str]]
    images: NDArray[np.float32]
    lesson: Lesson
    logits: NDArray[Any]
    answers: dict[str, Answer]


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Write a file. Images must be float16's; answers are rounded to float32, 1e-7 of them."""
    graph, lesson = vectors.graph, vectors.lesson
    assert lesson.maps is not None
    text = {
        "nodes": graph.nodes,
        "shapes": graph.shapes,
        "taps": graph.taps,
        "layers": vectors.layers,
        "answers": {
            way: {"losses": found.losses, "pairs": found.pairs, "last_loss": found.last_loss}
            for way, found in vectors.answers.items()
        },
    }
    arrays: dict[str, NDArray[Any]] = {
        "text": np.array(json.dumps(text)),
        "images": vectors.images.astype(np.float16),
        "labels": lesson.labels,
        "teacher_logits": lesson.logits,
        "norms": np.array(lesson.norms),
        "logits": vectors.logits.astype(np.float32),
        **{f"array/{name}": array for name, array in graph.arrays.items()},
    }
    for g, blocks in enumerate(lesson.maps):
        arrays |= {f"map/{g}/{b}": block for b, (block, _) in enumerate(blocks)}
    for way, found in vectors.answers.items():
        for kind, named in (("gradient", found.gradients), ("weight", found.weights)):
            arrays |= {f"{way}/{kind}/{n}": a.astype(np.float32) for n, a in named.items()}
    np.savez_compressed(path, **arrays)


def read_vectors(path: Path) -> Vectors:
    """Read a file of `write_vectors`."""
    with np.load(path) as data:
        arrays = dict(data)
    text = json.loads(str(arrays["text"]))
    shapes = [tuple(shape) for shape in text["shapes"]]
    graph = Graph(text["nodes"], dict(_under(arrays, "array/")), shapes, text["taps"])
    groups = range(len(graph.taps))
    maps = [[(block, None) for _, block in _under(arrays, f"map/{g}/")] for g in groups]
    lesson = Lesson(
        labels=arrays["labels"],
        logits=arrays["teacher_logits"],
        maps=maps,
        map_rows=np.arange(len(arrays["images"])),
        norms=list(arrays["norms"]),
    )
    answers = {
        way: Answer(
            **found,
            gradients=dict(_under(arrays, f"{way}/gradient/")),
            weights=dict(_under(arrays, f"{way}/weight/")),
        )
        for way, found in text["answers"].items()
    }
    logits = arrays["logits"]
    images = arrays["images"].astype(np.float32)
    return Vectors(graph, text["layers"], images, lesson, logits, answers)


def _under(arrays: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    return ((n.removeprefix(prefix), a) for n, a in arrays.items() if n.startswith(prefix))
