"""bench/learner_threads: every row has the learner's answers, and none is timed that has not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench import learner_threads
from bench.shared.student_file import student_file
from bench.shared.students import make_student
from pyedge.edge.learner import EdgeLearner


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch) -> EdgeLearner:
    monkeypatch.setattr(learner_threads, "CALLS", {1: 4, 2: 8})
    return EdgeLearner(student_file(make_student("resnet4")), threads=2)


@pytest.mark.parametrize("batch", [1, 2])
def test_learner_threads_measures_the_same_work_in_every_row(
    learner: EdgeLearner, batch: int
) -> None:
    found = learner_threads.measure(learner, batch, 1)
    assert set(found["ms"]) == {"unguarded", "again", "one", "four", "four copies"}
    assert all(value > 0 for value in (found["guard"], found["noise"], found["four"]))
    assert learner_threads.empty_answer_us(learner) < 1000


def test_learner_threads_does_not_time_wrong_answers(
    learner: EdgeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(learner: EdgeLearner) -> Any:
        return lambda images: np.zeros((len(images), 10), np.float32)

    monkeypatch.setattr(learner_threads, "guarded", wrong)
    with pytest.raises(SystemExit, match=r"one .*otherwise.* of 1"):
        learner_threads.measure(learner, 1, 1)
