"""One learner in several threads, several learners in one process: every answer is somebody's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge import kernels
from pyedge.edge.learner import EdgeLearner
from pyedge.student.archive import read_student, write_student
from tests.support.edge_student import CLASSES, changed, images, tiny_student
from tests.support.paths import ROOT
from tests.support.together import LABELS, PIXELS, QUICK, SOON_S, in_threads, learning


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_learner_in_four_threads_answers_each_image_as_alone() -> None:
    learner = EdgeLearner(tiny_student(), threads=2)
    want = [learner.predict(PIXELS[i : i + 1]).probabilities for i in range(48)]

    def some() -> int:
        return sum(
            not np.array_equal(learner.predict(PIXELS[i : i + 1]).probabilities, want[i])
            for i in range(48)
        )

    assert in_threads(*[some] * 4) == [0] * 4


def test_learner_in_threads_with_batches_of_many_sizes() -> None:
    learner = EdgeLearner(tiny_student(), threads=3)
    many = np.tile(PIXELS, (4, 1, 1, 1))
    want = {n: learner.logits(many[:n]) for n in (1, 7, 64, 192)}

    def some(n: int) -> bool:
        return all(np.array_equal(learner.logits(many[:n]), want[n]) for _ in range(10))

    assert all(in_threads(*[lambda n=n: some(n) for n in want]))


def test_learner_every_call_from_every_thread(tmp_path: Path) -> None:
    """The stress test: all public calls at once, and each answer is of a moment."""
    learner = EdgeLearner(tiny_student(), threads=2)
    moments: dict[bytes, int] = {}  # logits of every state that there was, by their bytes
    courses = [EdgeLearner(tiny_student())]
    for step in range(4):  # two lessons, a class more, another lesson
        moments[courses[-1].logits(PIXELS).tobytes()] = step
        if step == 2:
            courses[-1].add_classes(["four"])
        elif step < 4:
            courses[-1].learn(PIXELS, LABELS, options=QUICK, seed=step)
    moments[courses[-1].logits(PIXELS).tobytes()] = 4
    assert len(moments) == 5
    done = threading.Event()

    def change() -> None:
        for step in range(4):
            if step == 2:
                learner.add_classes(["four"])
            else:
                learner.learn(PIXELS, LABELS, options=QUICK, seed=step)
            time.sleep(0.02)
        done.set()

    def ask() -> list[int]:
        seen = []
        while not done.is_set():
            seen.append(moments[learner.logits(PIXELS).tobytes()])
        return seen

    def look() -> None:
        memory = {learner.memory(8, training) for training in (True, False)}
        while not done.is_set():
            found = learner.evaluate(PIXELS, LABELS)
            assert found.count == 48
            assert len(learner.classes) in (3, 4)
            assert learner.input_shape == (1, 8, 8)
            assert learner.trainable == learner.student.trainable
            assert len(memory | {learner.memory(8, True)}) <= 3  # a class more takes more

    def keep(path: Path) -> None:
        while not done.is_set():
            learner.save(path)
            assert EdgeLearner(path).logits(PIXELS).tobytes() in moments

    seen = in_threads(
        change, ask, ask, look, lambda: keep(tmp_path / "a"), lambda: keep(tmp_path / "b")
    )
    for steps in seen[1:3]:
        assert steps == sorted(steps)  # no thread goes back in time
    assert not changed(courses[-1].student, learner.student)


def test_predict_while_learning_answers_as_before_and_changes_nothing(tmp_path: Path) -> None:
    alone, learner = EdgeLearner(tiny_student()), EdgeLearner(tiny_student())
    before, memory = learner.logits(PIXELS), learner.memory(8)
    alone.learn(PIXELS, LABELS, val=images(seed=2), options=QUICK)
    with learning(learner):
        for _ in range(3):
            assert np.array_equal(learner.logits(PIXELS), before)
        assert learner.evaluate(PIXELS, LABELS).count == 48
        assert learner.memory(8) == memory
        assert learner.classes == CLASSES
        learner.save(tmp_path / "before.pyedge")
    assert not changed(tiny_student(), read_student(tmp_path / "before.pyedge"))
    assert not changed(alone.student, learner.student)
    assert np.array_equal(learner.logits(PIXELS), alone.logits(PIXELS))
    assert learner.memory(8) == memory


def test_predict_while_learning_takes_no_more_than_max_memory() -> None:
    learner = EdgeLearner(tiny_student())
    tight = learner.memory(16, training=True)
    waits = EdgeLearner(tiny_student(), max_memory=tight)
    before = waits.logits(PIXELS)
    with ThreadPoolExecutor(1) as pool:
        with learning(waits):
            answer = pool.submit(waits.logits, PIXELS)
            time.sleep(0.05)
            assert not answer.done()
        assert np.array_equal(answer.result(SOON_S), waits.logits(PIXELS))
    assert not np.array_equal(before, waits.logits(PIXELS))
    roomy = EdgeLearner(tiny_student(), max_memory=2 * tight + learner.memory(48, training=False))
    with learning(roomy):
        assert np.array_equal(roomy.logits(PIXELS), before)


def test_learn_in_two_threads_is_one_lesson_after_the_other() -> None:
    lessons = [lambda learner, s=s: learner.learn(PIXELS, LABELS, options=QUICK, seed=s)
               for s in (0, 1)]  # fmt: skip
    wanted = []
    for order in (lessons, lessons[::-1]):
        alone = EdgeLearner(tiny_student())
        for each in order:
            each(alone)
        wanted.append(alone.student)
    learner = EdgeLearner(tiny_student())
    in_threads(*[lambda each=each: each(learner) for each in lessons])
    assert set() in [changed(student, learner.student) for student in wanted]
    assert [entry["command"] for entry in learner.student.record] == ["learn", "learn"]


def test_add_classes_while_learning_waits_and_keeps_both() -> None:
    learner = EdgeLearner(tiny_student())
    with ThreadPoolExecutor(1) as pool:
        with learning(learner):
            added = pool.submit(learner.add_classes, ["four"])
            time.sleep(0.05)
            assert learner.classes == CLASSES
        added.result(SOON_S)
    assert learner.classes == (*CLASSES, "four")
    assert [entry["command"] for entry in learner.student.record] == ["learn", "add_classes"]
    assert learner.logits(PIXELS).shape == (48, 4)


def test_classes_that_several_threads_add_are_all_there() -> None:
    learner = EdgeLearner(tiny_student())
    before = learner.logits(PIXELS)
    names = [f"class {i}" for i in range(8)]
    in_threads(*[lambda name=name: learner.add_classes([name]) for name in names])
    assert learner.classes[:3] == CLASSES
    assert sorted(learner.classes[3:]) == names
    assert np.array_equal(learner.logits(PIXELS)[:, :3], before)
    assert [entry["classes"] for entry in learner.student.record] == [
        [name] for name in learner.classes[3:]
    ]


def test_threads_of_one_learner_are_not_seen_by_others() -> None:
    process = kernels.num_threads()
    learner, other = EdgeLearner(tiny_student(), threads=5), EdgeLearner(tiny_student(), threads=2)
    one, two = learner.memory(64), other.memory(64)
    counts = set()
    with learning(learner):
        counts.add(kernels.num_threads())
        other.predict(PIXELS)
        counts.add(kernels.num_threads())
        assert (learner.memory(64), other.memory(64)) == (one, two)
    assert counts | {kernels.num_threads()} == {process}


def test_threads_of_the_process_may_change_while_learners_learn() -> None:
    before = kernels.num_threads()
    alone = EdgeLearner(tiny_student())
    alone.learn(PIXELS, LABELS, options=QUICK)
    learners = [EdgeLearner(tiny_student(), threads=n) for n in (None, 1, 4)]
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for count in (1, 2, 5, 3):
                kernels.set_num_threads(count)

    def learn(learner: EdgeLearner) -> None:
        for _ in range(3):
            learner.learn(PIXELS, LABELS, options=QUICK)

    alone.learn(PIXELS, LABELS, options=QUICK)
    alone.learn(PIXELS, LABELS, options=QUICK)
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(change)
            try:
                in_threads(*[lambda each=each: learn(each) for each in learners])
            finally:
                done.set()
    finally:
        kernels.set_num_threads(before)
    assert [changed(alone.student, each.student) for each in learners] == [set()] * 3


def test_instruction_set_may_be_chosen_while_a_learner_learns() -> None:
    before = kernels.isa()
    alone, learner = EdgeLearner(tiny_student()), EdgeLearner(tiny_student())
    alone.learn(PIXELS, LABELS, options=QUICK)
    done = threading.Event()

    def choose() -> None:
        while not done.is_set():
            for name in kernels.available_isas():
                kernels.set_isa(name)

    def learn() -> None:
        try:
            learner.learn(PIXELS, LABELS, options=QUICK)
        finally:
            done.set()

    try:
        in_threads(choose, learn)
    finally:
        kernels.set_isa(before)
    assert not changed(alone.student, learner.student)


def test_learner_refuses_more_threads_than_there_can_be() -> None:
    with pytest.raises(ValueError, match=r"EdgeLearner: threads .*1024, got 2000"):
        EdgeLearner(tiny_student(), threads=2000)


def test_learner_that_is_dropped_frees_its_engines() -> None:
    learner = EdgeLearner(tiny_student())
    with learning(learner):
        learner.predict(PIXELS)
    gone = weakref.ref(learner._turns)
    del learner
    assert gone() is None


def test_engine_refuses_a_second_thread_in_every_call() -> None:
    engine = tiny_student().engine()
    many = np.zeros((4096, 1, 8, 8), np.uint8)
    want = engine.predict(PIXELS)
    done = threading.Event()
    calls: list[Callable[[], Any]] = [
        lambda: engine.predict(PIXELS),
        lambda: engine.step(PIXELS, np.arange(4), labels=LABELS[:4]),
        lambda: engine.update(0.1),
        lambda: engine.gradient("head.weight"),
        lambda: engine.array("head.weight"),
        lambda: engine.set_array("head.weight", tiny_student().arrays["head.weight"]),
        lambda: engine.state(),
        lambda: engine.set_state(tiny_student().engine().state()),
        lambda: engine.memory(8, True),
        lambda: engine.features(PIXELS),
        lambda: engine.weight_bytes,
        lambda: engine.set_trainable(["head"]),
        lambda: engine.set_batch_norm("frozen"),
        lambda: engine.set_optimizer(),
        lambda: engine.set_preprocessing("image"),
        lambda: engine.set_micro_batch(0),
        lambda: engine.set_threads(2),
        lambda: engine.profile(),
    ]

    def busy() -> None:
        while not done.is_set():
            with suppress(RuntimeError):  # poke's turn
                engine.predict(many)

    def poke() -> int:
        refused = 0
        end = time.monotonic() + SOON_S
        for call in calls:
            while time.monotonic() < end:
                try:
                    call()
                except RuntimeError as error:
                    if "in the middle of a call from another thread" in str(error):
                        refused += 1
                        break
        done.set()
        return refused

    assert in_threads(busy, poke)[1] == len(calls)
    assert engine.classes == 3
    engine.set_array("head.weight", tiny_student().arrays["head.weight"])
    assert np.array_equal(engine.predict(PIXELS), want)


def test_reading_students_in_threads_leaves_the_warnings_alone(tmp_path: Path) -> None:
    write_student(tmp_path / "s.pyedge", tiny_student())
    before = list(warnings.filters)

    def read() -> None:
        for _ in range(20):
            EdgeLearner(tmp_path / "s.pyedge")

    in_threads(*[read] * 4)
    assert warnings.filters == before


@pytest.mark.parametrize("work", ["learner.predict(pixels)", "learner.learn(pixels, labels)"])
def test_process_ends_well_while_a_daemon_thread_computes(work: str) -> None:
    code = f"""
import threading, time, numpy as np
from tests.support.edge_student import images, tiny_student
from pyedge.edge.learner import EdgeLearner
learner = EdgeLearner(tiny_student(), threads=2)
pixels, labels = images(960)
def run():
    while True:
        {work}
for _ in range(2):
    threading.Thread(target=run, daemon=True).start()
time.sleep(0.3)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, timeout=SOON_S
        )
        assert (done.returncode, done.stderr) == (0, b"")


def test_two_threads_are_answered_by_two_engines_and_by_one_where_memory_is_bounded() -> None:
    both = threading.Barrier(2)
    for limit, engines in ((None, 2), (50_000_000, 1)):
        used: list[int] = []

        def answer(student: Any, engine: Any, room: int | None, used: list[int] = used) -> None:
            used.append(id(engine))
            if room is None:
                both.wait(SOON_S)  # neither returns before the other has begun

        learner = EdgeLearner(tiny_student(), max_memory=limit)
        in_threads(*[partial(learner._turns.answer, "test", answer)] * 2)
        assert len(set(used)) == engines


def test_answers_of_the_second_engine_follow_the_learner() -> None:
    learner = EdgeLearner(tiny_student())
    pixels, labels = images(60)
    for _ in range(3):
        learner.learn(pixels, labels, steps=2, lr=0.1, progress=False)
        want = learner.logits(pixels)
        got = in_threads(*[lambda: [learner.logits(pixels) for _ in range(5)]] * 4)
        assert all(np.array_equal(each, want) for part in got for each in part)
