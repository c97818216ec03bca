"""Calls of a learner from inside its own calls, and calls that an error or Ctrl-C cuts off."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.edge.learner import EdgeLearner
from pyedge.student.archive import read_student
from tests.support.edge_student import changed, images, tiny_student
from tests.support.together import LABELS, PIXELS, QUICK, SOON_S, in_threads, learning


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as in a terminal: a shell that runs something in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_score_may_ask_the_learner_and_save_it_but_not_teach_it(tmp_path: Path) -> None:
    learner = EdgeLearner(tiny_student())
    before = learner.logits(PIXELS)
    seen = []

    def score(evaluation: Any) -> float:
        seen.append(np.array_equal(learner.logits(PIXELS), before))
        learner.save(tmp_path / "inside.pyedge")
        for call in (lambda: learner.learn(PIXELS, LABELS), lambda: learner.add_classes(["x"])):
            with pytest.raises(RuntimeError, match="inside another call"):
                call()
        return evaluation.accuracy

    learner.learn(PIXELS, LABELS, val=images(seed=2), score=score, options=QUICK)
    assert seen == [True, True]
    assert not changed(tiny_student(), read_student(tmp_path / "inside.pyedge"))
    alone = EdgeLearner(tiny_student())
    alone.learn(PIXELS, LABELS, val=images(seed=2), options=QUICK)
    assert not changed(alone.student, learner.student)


def test_score_that_must_not_wait_for_its_own_learn_is_told_so() -> None:
    tight = EdgeLearner(tiny_student()).memory_bytes(16, training=True)
    learner = EdgeLearner(tiny_student(), max_memory=tight)

    def score(evaluation: Any) -> float:
        learner.predict(PIXELS)
        return 1.0

    with pytest.raises(RuntimeError, match=r"predict: .*inside learn .*no room"):
        learner.learn(PIXELS, LABELS, val=images(seed=2), score=score, options=QUICK)
    assert not changed(tiny_student(), learner.student)
    assert len(learner.predict(PIXELS).ids) == 48


def test_learn_from_what_the_learner_itself_says_of_a_stream() -> None:
    learner, other = EdgeLearner(tiny_student()), EdgeLearner(tiny_student())
    stream = ((image, learner.predict(image[None]).ids[0]) for image in PIXELS)
    learner.learn(stream, labelled=True, options=QUICK)
    other.learn(PIXELS, other.predict(PIXELS).ids, options=QUICK)
    assert not changed(other.student, learner.student)


def test_learn_that_fails_gives_its_turn_back() -> None:
    learner = EdgeLearner(tiny_student())
    before = learner.logits(PIXELS)

    def score(evaluation: Any) -> float:
        assert np.array_equal(learner.logits(PIXELS), before)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learner.learn(PIXELS, LABELS, val=images(seed=2), score=score, options=QUICK)
    assert np.array_equal(in_threads(lambda: learner.logits(PIXELS))[0], before)
    in_threads(lambda: learner.learn(PIXELS, LABELS, options=QUICK))
    assert changed(tiny_student(), learner.student)


@pytest.mark.parametrize("then", ["learn", "predict"])
def test_second_ctrl_c_while_learn_tidies_up_harms_nothing(
    then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = EdgeLearner(tiny_student())
    before = learner.logits(PIXELS)

    def interrupt(*_: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learner._turns, "_end_loan", interrupt)
        with pytest.raises(KeyboardInterrupt):
            learner.learn(PIXELS, LABELS, val=images(seed=2), score=interrupt, options=QUICK)
    if then == "predict":
        assert np.array_equal(in_threads(lambda: learner.logits(PIXELS))[0], before)
    learner.learn(PIXELS, LABELS, options=QUICK)
    alone = EdgeLearner(tiny_student())
    alone.learn(PIXELS, LABELS, options=QUICK)
    assert not changed(alone.student, learner.student)
    assert np.array_equal(alone.logits(PIXELS), learner.logits(PIXELS))


def test_answer_that_fails_gives_its_turn_back() -> None:
    learner = EdgeLearner(tiny_student(), max_memory=1)
    for call in (lambda: learner.predict(PIXELS), lambda: learner.learn(PIXELS, LABELS)):
        with pytest.raises(ValueError, match="max_memory=1 bytes hold no batch"):
            call()
    assert in_threads(lambda: learner.memory_bytes(8))[0] > 1


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread here")
@pytest.mark.parametrize("call", ["predict", "learn", "add_classes"])
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_wait_for_a_turn(call: str) -> None:
    tight = EdgeLearner(tiny_student()).memory_bytes(16, training=True)
    learner = EdgeLearner(tiny_student(), max_memory=tight)
    calls = {
        "predict": lambda: learner.predict(PIXELS),
        "learn": lambda: learner.learn(PIXELS, LABELS, options=QUICK),
        "add_classes": lambda: learner.add_classes(["four"]),
    }
    with learning(learner):
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            calls[call]()
    assert len(learner.classes) == 3
    calls[call]()
    assert in_threads(lambda: learner.logits(PIXELS))[0].shape == (48, len(learner.classes))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_signal_handler_may_ask_but_not_teach_in_the_middle_of_an_answer() -> None:
    learner = EdgeLearner(tiny_student())
    want = learner.logits(PIXELS)
    answered, refused = [], []

    def handler(number: int, frame: Any) -> None:
        answered.append(np.array_equal(learner.logits(PIXELS), want))
        try:
            learner.learn(PIXELS, LABELS, options=QUICK, steps=1)
        except RuntimeError as error:
            refused.append(str(error))

    # an iterable of batches would not do: the handler must come while the engine answers
    before = signal.signal(signal.SIGALRM, handler)
    many = np.tile(PIXELS, (20, 1, 1, 1))
    try:
        end = time.monotonic() + SOON_S
        while not refused and time.monotonic() < end:
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            learner.logits(many, batch_size=8)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if not refused:  # it came between two calls, and taught
                learner = EdgeLearner(tiny_student())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "learn: called from inside another call" in refused[0]
    assert all(answered)


@pytest.mark.usefixtures("ctrl_c")
def test_interrupt_of_a_learning_main_thread_leaves_others_answering() -> None:
    learner = EdgeLearner(tiny_student())
    before = learner.logits(PIXELS)
    done = threading.Event()

    def ask() -> bool:
        same = True
        while not done.is_set():
            same &= np.array_equal(learner.logits(PIXELS), before)
        return same

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        try:
            for _ in range(5):
                threading.Timer(0.05, _thread.interrupt_main).start()
                with pytest.raises(KeyboardInterrupt):
                    learner.learn(PIXELS, LABELS, options=QUICK, epochs=10_000)
        finally:
            done.set()
        assert asked.result(SOON_S)
    assert not changed(tiny_student(), learner.student)


@pytest.mark.parametrize(
    ("score", "error", "words"),
    [
        ("accuracy", TypeError, "learn: score: wanted a function .* got 'accuracy'"),
        (lambda e: float("nan"), ValueError, "learn: score returned NaN"),
        (lambda e: "x", TypeError, "learn: score: .*a number, got 'x'"),
        (lambda e: "0.5", TypeError, "learn: score: .*a number, got '0.5'"),
    ],
)
def test_score_that_ranks_nothing_is_named_and_nothing_learned(
    score: Any, error: type[Exception], words: str
) -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(error, match=words):
        learner.learn(PIXELS, LABELS, val=images(seed=2), score=score, options=QUICK)
    assert not changed(tiny_student(), learner.student)
