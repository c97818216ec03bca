"""EdgeLearner.evaluate warns where a student is right far less often than its file records."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

from pyedge.edge.expected import is_far_below, recorded_accuracy
from pyedge.edge.learner import EdgeLearner
from pyedge.runs.evaluation import Evaluation
from tests.support.edge_student import CLASSES, images, tiny_student

TRAINED, CUT = {"command": "train", "test_accuracy": 0.9}, {"command": "compress"}
EXPORTED = {"command": "export"}


def learner(*record: Any, **change: Any) -> EdgeLearner:
    """A student that is right on `images`, with this record."""
    taught = EdgeLearner(tiny_student())
    taught.learn(*images(), epochs=20, batch_size=16, lr=0.1)
    assert taught.evaluate(*images(seed=2)).accuracy > 0.9
    student = dataclasses.replace(taught.student, record=(*record, EXPORTED), **change)
    return EdgeLearner(student)


def test_evaluate_says_nothing_where_the_student_is_as_good_as_its_record() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert learner(TRAINED).evaluate(*images(seed=2)).accuracy > 0.9


def test_evaluate_warns_of_other_pictures_and_names_the_preprocessing() -> None:
    pixels, labels = images(60, seed=2)
    with pytest.warns(UserWarning, match=r"records 90.0% right .*60 images.*file's \(image\)"):
        learner(TRAINED).evaluate(255 - pixels, labels)


def test_evaluate_names_the_order_of_the_classes() -> None:
    pixels, labels = images(60, seed=2)
    order = (CLASSES[1], CLASSES[0], CLASSES[2])
    with pytest.warns(UserWarning, match="it answers low for middle, it answers middle for low"):
        learner(TRAINED, classes=order).evaluate(pixels, np.array(CLASSES)[labels])


def test_evaluate_promises_nothing_of_a_student_that_learned_since() -> None:
    pixels, labels = images(60, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for record in ((), (TRAINED, CUT), (TRAINED, {"command": "learn"})):
            assert learner(*record).evaluate(255 - pixels, labels).accuracy < 0.5


def test_recorded_accuracy_is_of_the_last_change() -> None:
    assert recorded_accuracy([TRAINED]) == 0.9
    assert recorded_accuracy([TRAINED, CUT]) is None
    assert recorded_accuracy([TRAINED, CUT, {"command": "transfer", "test_accuracy": 0.5}]) == 0.5
    assert recorded_accuracy([TRAINED, {"command": "train"}]) is None
    assert recorded_accuracy([{"command": "train", "test_accuracy": "much"}]) is None
    assert recorded_accuracy([TRAINED, {"command": "add_statistics"}, EXPORTED]) == 0.9
    assert recorded_accuracy([TRAINED, EXPORTED, {"command": "add_classes"}]) is None


@pytest.mark.parametrize(
    ("right", "of", "far"),
    # 0.15, or three standard deviations: 1.5 / sqrt(16) = 0.375
    [(760, 1000, False), (740, 1000, True), (9, 16, False), (8, 16, True)],
)
def test_is_far_below_allows_for_chance(right: int, of: int, far: bool) -> None:
    other = of // 2
    counts = np.array([[right - other, of - right], [0, other]])
    assert is_far_below(Evaluation(counts, 0.0), 0.9) is far


def test_is_far_below_says_nothing_of_one_class() -> None:
    one = Evaluation(np.array([[10, 990], [0, 0]]), 0.0)
    assert not is_far_below(one, 0.9)
    assert not is_far_below(one, None)
