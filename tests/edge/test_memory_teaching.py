"""A memory beside a teacher's knowledge, and on real digits."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pyedge import EdgeLearner, Memory, StudentFile, compress, export, read_student  # noqa: E402
from pyedge.cloud.make_knowledge import make_knowledge  # noqa: E402
from pyedge.cloud.training.train import train  # noqa: E402
from pyedge.data import BatchLoader, class_incremental, load_digits  # noqa: E402
from pyedge.edge.features import features_of  # noqa: E402
from pyedge.images.edge_images import EdgeImages  # noqa: E402
from pyedge.knowledge.pack import Knowledge  # noqa: E402
from pyedge.models import create  # noqa: E402
from tests.support.edge_student import changed, images, tiny_student  # noqa: E402
from tests.support.student_files import every_operator  # noqa: E402
from tests.support.tiny_pair import pair  # noqa: E402

PIXELS, LABELS = images(60)
NEW = LABELS == 2


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    path = tmp_path_factory.mktemp("packs") / "pack"
    return make_knowledge(tiny_student(), pair()[1], PIXELS[NEW], path, progress=False)


def filled() -> Memory:
    memory = Memory(per_class=4)
    memory.add(tiny_student(), PIXELS[~NEW], LABELS[~NEW])
    return memory


@pytest.mark.parametrize("norms", ["batch", "image"])
@pytest.mark.parametrize("labels", [True, False])
def test_edge_transfer_with_a_memory_has_all_its_losses(
    labels: bool, norms: str, pack: Knowledge
) -> None:
    learned = []
    for threads in (1, 2):
        learner = EdgeLearner(tiny_student(), threads=threads)
        result = learner.learn(
            PIXELS[NEW],
            LABELS[NEW] if labels else None,
            knowledge=pack,
            memory=filled(),
            norms=norms,
            steps=8,
            batch_size=12,
            lr=0.02,
            progress=False,
        )
        learned.append(learner.student)
    assert not changed(*learned)
    row = result.history[-1]
    assert {"J_1", "J_b"} <= row.keys()
    assert ("J_3" in row) == labels
    assert changed(tiny_student(), learner.student) >= {"head.weight", "groups.0.1.0.weight"}


def test_edge_transfer_keeps_what_is_remembered(pack: Knowledge) -> None:
    first = EdgeLearner(tiny_student())
    first.learn(PIXELS[~NEW], LABELS[~NEW], epochs=8, batch_size=16, lr=0.1, progress=False)
    memory = filled()
    how: dict[str, Any] = {
        "knowledge": pack, "steps": 40, "batch_size": 12, "lr": 0.05, "progress": False
    }  # fmt: skip
    right = {}
    for name, kept in (("alone", None), ("memory", memory)):
        learner = EdgeLearner(first.student)
        learner.learn(PIXELS[NEW], memory=kept, **how)
        right[name] = learner.evaluate(memory.images, memory.labels).accuracy
    assert right["memory"] > 0.8
    assert right["alone"] < 0.6


def test_edge_transfer_by_maps_alone_has_no_use_for_a_memory(pack: Knowledge) -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match=r"only J_b, .*memory .*no maps"):
        learner.learn(PIXELS[NEW], knowledge=pack, memory=filled(), lambdas=(0, 10, 0), steps=2)


def test_edge_transfer_without_j1_replays_the_labels(pack: Knowledge) -> None:
    learner = EdgeLearner(tiny_student())
    result = learner.learn(
        PIXELS[NEW],
        LABELS[NEW],
        knowledge=pack,
        memory=filled(),
        lambdas=(0, 10, 1),
        steps=4,
        batch_size=12,
        progress=False,
    )
    assert {"J_b", "J_3"} <= result.history[-1].keys()


def with_wide_classifier() -> StudentFile:
    """A student that flattens a map of several pixels."""
    student = tiny_student()
    nodes = [dict(node) for node in student.nodes if node["op"] != "global_avg_pool"]
    place = next(i for i, node in enumerate(nodes) if node["op"] == "flatten")
    nodes[place]["inputs"] = [place - 1]
    nodes[place + 1]["inputs"] = [place]
    width = math.prod(student.layers()[place - 1].shape)
    weight = np.random.default_rng(0).standard_normal((3, width)).astype(np.float32)
    return dataclasses.replace(
        student,
        nodes=tuple(nodes),
        output=len(nodes) - 1,
        arrays={**student.arrays, "head.weight": weight},
    )


@pytest.mark.parametrize("make", [tiny_student, with_wide_classifier, every_operator])
def test_features_are_what_the_classifier_reads(make: Any) -> None:
    student: StudentFile = make()
    shape = student.input_shape
    pixels = np.random.default_rng(2).integers(0, 256, (9, *shape), dtype=np.uint8)
    found = features_of(student.engine(), EdgeImages.from_array(pixels, shape), 4)
    node = next(node for node in student.nodes if node["name"] == student.classifier)
    weight, bias = student.arrays[node["weight"]], student.arrays[node["bias"]]
    assert found.shape == (9, weight.shape[1])
    logits = EdgeLearner(student).logits(pixels)
    np.testing.assert_allclose(found @ weight.T + bias, logits, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudentFile, Any, Any, Any]:
    """A student of nine digits, images of these and of the tenth, and test images."""
    torch.manual_seed(0)
    train_set, _, test_set = load_digits()
    old, new = class_incremental(train_set, [9])
    model = create("wrn", num_classes=10, in_channels=1, depth=10, widths=(16, 24, 32))
    train(model, BatchLoader(old, 64, seed=0), epochs=3, lr=0.1, progress=False)
    student = compress(model, 1.0, BatchLoader(old, 64, seed=0))
    train(student, BatchLoader(old, 64, seed=0), epochs=2, lr=0.05, progress=False)
    path = tmp_path_factory.mktemp("digits") / "student.pyedge"
    export(student, path, classes=train_set.classes)
    return read_student(path), old, new, test_set


@pytest.mark.parametrize("choose", ["herding", "random"])
def test_digits_are_forgotten_less_with_a_memory(
    choose: str, digits: tuple[StudentFile, Any, Any, Any], tmp_path: Path
) -> None:
    student, old, new, test = digits
    memory = Memory(per_class=5, choose=choose)
    memory.add(student, old)
    assert len(memory) == 45
    rights = {}
    for name, kept in (("alone", None), ("memory", memory)):
        learner = EdgeLearner(student)
        learner.learn(new, labelled=True, memory=kept, steps=64, lr=0.05, progress=False)
        found = learner.evaluate(test).per_class
        rights[name] = np.mean(found[:9]), found[9]
    before = np.mean(EdgeLearner(student).evaluate(test).per_class[:9])
    assert before > 0.9
    assert rights["alone"][0] < before - 0.1
    assert rights["memory"][0] > before - 0.06
    assert rights["memory"][1] > 0.8
