"""Copies of learners are learners of their own, and nobody changes one from outside."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.edge.answers import Prediction
from pyedge.edge.learner import EdgeLearner
from pyedge.errors import DivergedError, FormatError
from pyedge.images.edge_images import EdgeImages
from pyedge.student.archive import read_student, write_student
from tests.support.edge_student import CLASSES, changed, tiny_student
from tests.support.together import LABELS, PIXELS, QUICK, in_threads, learning

WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {protocol}": lambda thing, protocol=protocol: pickle.loads(
        pickle.dumps(thing, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}  # fmt: skip


def taught() -> EdgeLearner:
    learner = EdgeLearner(tiny_student(), threads=3, max_memory=50_000_000)
    learner.add_classes(["four"])
    learner.learn(PIXELS, LABELS, options=QUICK)
    return learner


@pytest.mark.parametrize("way", WAYS)
def test_copy_of_a_learner_is_the_same_and_learns_alone(way: str, tmp_path: Path) -> None:
    learner = taught()
    student, before, memory = learner.student, learner.logits(PIXELS), learner.memory_bytes(48)
    other = WAYS[way](learner)
    assert np.array_equal(other.logits(PIXELS), before)
    assert other.classes == (*CLASSES, "four")
    assert other.trainable == learner.trainable
    assert other.memory_bytes(48) == memory  # which depends on the number of threads
    for each, path in ((learner, "first.pyedge"), (other, "copy.pyedge")):
        each.save(tmp_path / path)
    assert (tmp_path / "first.pyedge").read_bytes() == (tmp_path / "copy.pyedge").read_bytes()
    other.learn(PIXELS, LABELS, options=QUICK, warm_start=True)
    other.add_classes(["five"])
    assert learner.student is student
    assert np.array_equal(learner.logits(PIXELS), before)
    learner.learn(PIXELS, LABELS, options=QUICK, warm_start=True)  # the copy's optimizer went on
    learner.add_classes(["five"])
    assert np.array_equal(learner.logits(PIXELS), other.logits(PIXELS))
    for each in (learner, other):
        each.save(tmp_path / "now.pyedge")
        assert np.array_equal(
            EdgeLearner(tmp_path / "now.pyedge").logits(PIXELS), each.logits(PIXELS)
        )


def test_copy_of_a_learner_keeps_its_limit_of_memory() -> None:
    learner = EdgeLearner(tiny_student(), max_memory=10)
    for way in WAYS.values():
        with pytest.raises(ValueError, match="max_memory=10 bytes hold no batch"):
            way(learner).predict(PIXELS)


def test_copy_of_a_learner_of_ones_own_keeps_what_was_added() -> None:
    for way in ("copy", "deepcopy", "pickle 5"):
        camera = Camera(tiny_student(), "garden")
        other = WAYS[way](camera)
        assert (type(other), other.place) == (Camera, ["garden"])
        assert (other.place is camera.place) == (way == "copy")  # as copy.copy is for anything
        assert np.array_equal(other.logits(PIXELS), camera.logits(PIXELS))


class Camera(EdgeLearner):
    def __init__(self, student: Any, place: str) -> None:
        super().__init__(student)
        self.place = [place]


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle 5"])
def test_copy_while_the_learner_learns_is_what_it_was_before(way: str) -> None:
    learner = EdgeLearner(tiny_student())
    before = learner.logits(PIXELS)
    with learning(learner):
        other = WAYS[way](learner)
        assert np.array_equal(other.logits(PIXELS), before)
        other.learn(PIXELS, LABELS, options=QUICK, seed=5)  # beside the first one
    alone = EdgeLearner(tiny_student())
    alone.learn(PIXELS, LABELS, options=QUICK, seed=5)
    assert not changed(alone.student, other.student)
    assert changed(other.student, learner.student)


def test_copies_in_several_threads_learn_what_each_learns_alone() -> None:
    learner = taught()
    copies = [copy.copy(learner) for _ in range(3)]
    wanted = []
    for seed in range(3):
        alone = copy.copy(learner)
        alone.learn(PIXELS, LABELS, options=QUICK, seed=seed)
        wanted.append(alone.student)
    in_threads(*[lambda each=each, seed=seed: each.learn(PIXELS, LABELS, options=QUICK, seed=seed)
                 for seed, each in enumerate(copies)])  # fmt: skip
    assert [changed(a, b.student) for a, b in zip(wanted, copies, strict=True)] == [set()] * 3


@pytest.mark.parametrize("given", ["made", "read"])
def test_student_that_a_learner_was_made_of_may_be_changed_afterwards(
    given: str, tmp_path: Path
) -> None:
    write_student(tiny_student(), tmp_path / "s.pyedge")
    student = tiny_student() if given == "made" else read_student(tmp_path / "s.pyedge")
    learner, before = EdgeLearner(student), EdgeLearner(student).logits(PIXELS)
    if given == "made":
        student.arrays["head.weight"][:] = 0
        student.kept[0][:] = 0
    student.arrays["head.bias"] = np.zeros(3, np.float32)  # type: ignore[index]
    student.nodes[1]["stride"] = [2, 2]
    learner.add_classes(["four"])  # makes an engine anew
    learner.save(tmp_path / "now.pyedge")
    assert np.array_equal(learner.logits(PIXELS)[:, :3], before)
    assert np.array_equal(EdgeLearner(tmp_path / "now.pyedge").logits(PIXELS)[:, :3], before)
    assert read_student(tmp_path / "now.pyedge").kept[0].tolist() == [0, 2, 3, 5]


def test_student_of_a_view_of_the_callers_memory_is_the_learners_own() -> None:
    student = tiny_student()
    memory = np.array(student.arrays["head.weight"])
    view = memory[:]
    view.flags.writeable = False  # the array that it looks at can still be written to
    arrays: Any = student.arrays
    arrays["head.weight"] = view
    learner = EdgeLearner(student)
    memory[:] = 0
    assert not changed(tiny_student(), learner.student)


@pytest.mark.parametrize("when", ["new", "taught", "grown", "copied"])
def test_arrays_of_a_learners_student_cannot_be_written_to(when: str, tmp_path: Path) -> None:
    learner = EdgeLearner(tiny_student()) if when == "new" else taught()
    if when == "grown":
        learner.add_classes(["five"])
    if when == "copied":
        learner = pickle.loads(pickle.dumps(learner))
    before = learner.logits(PIXELS)
    shown = learner.student
    for arrays in (shown.arrays.values(), shown.state.values(), shown.kept):
        for array in arrays:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    # what else is in it is a copy
    shown.arrays.clear()  # type: ignore[attr-defined]
    shown.nodes[1].clear()
    learner.save(tmp_path / "s.pyedge")
    assert np.array_equal(EdgeLearner(tmp_path / "s.pyedge").logits(PIXELS), before)


def test_answers_are_the_callers_own() -> None:
    learner = EdgeLearner(tiny_student())
    logits, (ids, probabilities) = learner.logits(PIXELS), learner.predict(PIXELS)
    confusion = learner.evaluate(PIXELS, LABELS).confusion
    kept = [array.copy() for array in (logits, ids, probabilities, confusion)]
    for array in (logits, ids, probabilities, confusion):
        array[:] = 0
    again = learner.predict(PIXELS)
    now = [learner.logits(PIXELS), again.ids, again.probabilities]
    now.append(learner.evaluate(PIXELS, LABELS).confusion)
    assert all(np.array_equal(a, b) for a, b in zip(kept, now, strict=True))
    array = learner._engine.array("head.weight")
    array[:] = 0
    assert np.array_equal(learner.logits(PIXELS), kept[0])


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle 5"])
def test_copies_of_images_answers_results_and_options_are_whole(way: str) -> None:
    learner = EdgeLearner(tiny_student())
    make = WAYS[way]
    given = make(EdgeImages.of(PIXELS, (1, 8, 8), np.array(CLASSES)[LABELS]))
    assert np.array_equal(given.array, PIXELS)
    assert given.with_classes(CLASSES).labels.tolist() == LABELS.tolist()
    answer = make(learner.predict(PIXELS))
    assert isinstance(answer, Prediction)
    assert np.array_equal(answer.probabilities, learner.predict(PIXELS).probabilities)
    assert make(learner.evaluate(PIXELS, LABELS)).count == 48
    result = learner.learn(PIXELS, LABELS, options=make(QUICK))
    assert make(result) == result
    student = make(learner.student)
    assert not changed(learner.student, student)
    assert student.structure_digest == learner.student.structure_digest
    for error in (FormatError("f: bad"), DivergedError("learn: bad")):
        assert (type(make(error)), str(make(error))) == (type(error), str(error))


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle 5"])
def test_engine_says_that_it_cannot_be_copied(way: str) -> None:
    with pytest.raises(TypeError, match=r"Engine: .*copied or pickled"):
        WAYS[way](tiny_student().engine())


def test_copy_of_a_student_teaches_another_learner() -> None:
    learner = taught()
    other = EdgeLearner(copy.deepcopy(learner.student))
    other.learn(PIXELS, LABELS, options=QUICK)
    assert changed(learner.student, other.student)
