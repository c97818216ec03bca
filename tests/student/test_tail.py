"""What stands between a student's classifier and its logits: answers, growth, files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.edge.learner import EdgeLearner
from pyedge.errors import FormatError
from pyedge.student.archive import read_student, write_student
from pyedge.student.file import StudentFile
from pyedge.student.tail import terms
from tests.support.edge_student import images, tiny_student

OUTPUTS = 3


def with_tail(
    order: Sequence[int] | None = None,
    scale: Sequence[float] | None = None,
    shift: Sequence[float] | None = None,
) -> StudentFile:
    """The tiny student with its classes in another order, then scaled and shifted.

    order: for each of the classifier's outputs its place among the logits, -1 for none.
    """
    student = tiny_student()
    nodes, arrays = list(student.nodes), dict(student.arrays)
    classes = OUTPUTS
    if order is not None:
        classes = max(order) + 1
        arrays["order.position"] = np.array(order, np.int32)
        nodes.append({"op": "channel_pad", "name": "order", "inputs": [len(nodes) - 1],
                      "position": "order.position", "channels": classes})  # fmt: skip
    if scale is not None or shift is not None:
        arrays["tail.weight"] = np.array(scale or [1.0] * classes, np.float32)
        arrays["tail.bias"] = np.array(shift or [0.0] * classes, np.float32)
        nodes.append({"op": "affine", "name": "tail", "inputs": [len(nodes) - 1],
                      "weight": "tail.weight", "bias": "tail.bias"})  # fmt: skip
    return dataclasses.replace(
        student,
        nodes=tuple(nodes),
        arrays=arrays,
        output=len(nodes) - 1,
        classes=tuple(f"class {i}" for i in range(classes)),
    )


def plain_logits() -> np.ndarray:
    return EdgeLearner(tiny_student()).logits(images()[0])


def test_student_tail_puts_logits_in_another_order() -> None:
    logits = EdgeLearner(with_tail(order=[2, 0, 1])).logits(images()[0])
    assert np.array_equal(logits, plain_logits()[:, [1, 2, 0]])


def test_student_tail_leaves_out_classes() -> None:
    logits = EdgeLearner(with_tail(order=[-1, 1, 0])).logits(images()[0])
    assert np.array_equal(logits, plain_logits()[:, [2, 1]])


def test_student_tail_scales_and_shifts_each_logit() -> None:
    logits = EdgeLearner(with_tail(scale=[2, 0.5, 1], shift=[0, -3, 4])).logits(images()[0])
    wanted = plain_logits().astype(np.float64) * [2, 0.5, 1] + [0, -3, 4]
    assert np.abs(logits - wanted).max() < 1e-5  # one rounding each of logits of some units


def test_student_tail_masks_a_class() -> None:
    prediction = EdgeLearner(with_tail(scale=[1, 0, 1], shift=[0, -1e30, 0])).predict(images()[0])
    assert not (prediction.ids == 1).any()
    assert (prediction.probabilities[:, 1] == 0).all()
    assert np.abs(prediction.probabilities.sum(1) - 1).max() < 1e-6


@pytest.mark.parametrize(
    "tail",
    [
        {},
        {"order": [2, 0, 1]},
        {"order": [-1, 0, 1]},
        {"scale": [3, 3, 3]},
        {"shift": [1, -2, 5]},
        {"scale": [1, 0, 1], "shift": [0, -1000, 0]},
        {"order": [1, 2, 0], "scale": [2, 0, 0.5], "shift": [0, -50, 1]},
    ],
)
def test_student_tail_new_class_begins_with_the_mean_of_the_logits_that_are_not_masked(
    tail: dict[str, Any], tmp_path: Path
) -> None:
    learner = EdgeLearner(with_tail(**tail))
    pixels, _ = images()
    before = learner.logits(pixels)
    seen = ~terms(learner.student).masked
    learner.add_classes(["mug", "plate"])
    learner.save(tmp_path / "grown.pyedge")
    after = EdgeLearner(tmp_path / "grown.pyedge").logits(pixels)
    count = before.shape[1]
    assert np.array_equal(after[:, :count], before)
    wanted = before[:, seen].astype(np.float64).mean(1)
    assert np.abs(after[:, count:] - wanted[:, None]).max() < 1e-5 * np.abs(before[:, seen]).max()


def test_student_tail_learns_a_class_that_was_added() -> None:
    learner = EdgeLearner(with_tail(order=[2, 0, 1], scale=[4, 4, 4], shift=[0.5, 0, 0]))
    learner.add_classes(["mug"])
    pixels, labels = images()
    learner.learn(pixels, np.where(labels == 2, 3, labels), steps=60, batch_size=16, lr=0.05)
    assert learner.evaluate(pixels, np.where(labels == 2, 3, labels)).accuracy > 0.9


def test_student_tail_refuses_to_learn_a_class_that_is_masked() -> None:
    learner = EdgeLearner(with_tail(scale=[1, 0, 1], shift=[0, -1000, 0]))
    pixels, labels = images()
    before = learner.logits(pixels)
    with pytest.raises(ValueError, match=r"labels name 'class 1', which .* masks"):
        learner.learn(pixels, labels, steps=2)
    assert np.array_equal(learner.logits(pixels), before)
    learner.learn(pixels[labels != 1], labels[labels != 1], steps=2)


def test_student_tail_terms_say_where_each_logit_comes_from() -> None:
    found = terms(with_tail(order=[1, -1, 0], scale=[2, 0], shift=[1, -9]))
    assert found.source.tolist() == [2, 0]
    assert found.scale.tolist() == [2, 0]
    assert found.shift.tolist() == [1, -9]
    assert found.masked.tolist() == [False, True]


def test_student_tail_structure_digest_stays_when_classes_are_added() -> None:
    learner = EdgeLearner(with_tail(order=[2, 0, 1], scale=[4, 4, 4]))
    before = learner.student.structure_digest
    learner.add_classes(["mug"])
    assert learner.student.structure_digest == before != tiny_student().structure_digest


def test_student_tail_comes_back_from_a_file_bit_for_bit(tmp_path: Path) -> None:
    student = with_tail(order=[2, 0, 1], scale=[2, 0, 0.5], shift=[0, -1e30, 1])
    write_student(student, tmp_path / "s.pyedge")
    other = read_student(tmp_path / "s.pyedge")
    assert np.array_equal(
        EdgeLearner(other).logits(images()[0]), EdgeLearner(student).logits(images()[0])
    )


@pytest.mark.parametrize("op", ["relu", "add"])
def test_student_tail_of_anything_else_is_refused(tmp_path: Path, op: str) -> None:
    student = tiny_student()
    inputs = [student.output] * (2 if op == "add" else 1)
    nodes = (*student.nodes, {"op": op, "name": "more", "inputs": inputs})
    bad = dataclasses.replace(student, nodes=nodes, output=student.output + 1)
    with pytest.raises(FormatError, match=r"output: .*classifier"):
        write_student(bad, tmp_path / "s.pyedge")


def test_student_tail_affine_on_a_flat_map_of_several_pixels_is_refused(tmp_path: Path) -> None:
    student = tiny_student()
    nodes, arrays = list(student.nodes), dict(student.arrays)
    pool = next(i for i, node in enumerate(nodes) if node["op"] == "global_avg_pool")
    features = 5 * 4 * 4
    nodes[pool] = {"op": "relu", "name": "pool", "inputs": [pool - 1]}
    arrays["wide.weight"] = np.ones(features, np.float32)
    arrays["wide.bias"] = np.zeros(features, np.float32)
    arrays["head.weight"] = np.ones((3, features), np.float32)
    affine = {"op": "affine", "name": "wide", "inputs": [pool + 1], "weight": "wide.weight",
              "bias": "wide.bias"}  # fmt: skip
    nodes[pool + 2 :] = [affine, {**nodes[pool + 2], "inputs": [pool + 2]}]
    bad = dataclasses.replace(student, nodes=tuple(nodes), arrays=arrays, output=len(nodes) - 1)
    with pytest.raises(FormatError, match="a flat map of several pixels"):
        write_student(bad, tmp_path / "s.pyedge")
    with pytest.raises(ValueError, match="on a flat map of more than one pixel"):
        bad.engine()
