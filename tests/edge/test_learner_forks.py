"""Learners in the children of forks, in spawned processes and in pools of them."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from pyedge.edge.learner import EdgeLearner
from tests.support.edge_student import changed, images, tiny_student
from tests.support.together import LABELS, PIXELS, QUICK, SOON_S, learning

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork here")
# Python 3.12 warns of every fork beside threads, whatever it is that they do
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def good_in_a_child(check: Callable[[], bool]) -> bool:
    """Run a check in the child of a fork; one that hangs is killed and counts as failed."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SOON_S)
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(child, 0)[1] == 0


def works(learner: EdgeLearner, want: np.ndarray) -> bool:
    same = np.array_equal(learner.logits(PIXELS), want)
    alone = EdgeLearner(tiny_student())
    for each in (alone, learner):
        each.learn(PIXELS, LABELS, options=QUICK)
        each.add_classes(["four"])
    return same and not changed(alone.student, learner.student)


@needs_fork
def test_learner_works_in_the_child_of_a_fork() -> None:
    learner = EdgeLearner(tiny_student(), threads=3)
    want = learner.logits(PIXELS)
    assert good_in_a_child(lambda: works(learner, want))
    assert np.array_equal(learner.logits(PIXELS), want)


@needs_fork
def test_learner_works_in_a_child_that_was_forked_while_others_answered() -> None:
    learner = EdgeLearner(tiny_student(), threads=2)
    want = learner.logits(PIXELS)
    many = np.tile(PIXELS, (20, 1, 1, 1))
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            learner.logits(many)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            time.sleep(random.random() / 100)
            assert good_in_a_child(lambda: works(learner, want))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert np.array_equal(learner.logits(PIXELS), want)


@needs_fork
def test_learner_in_a_child_that_was_forked_while_it_learned_is_as_before() -> None:
    learner = EdgeLearner(tiny_student())
    want = learner.logits(PIXELS)
    with learning(learner):
        assert good_in_a_child(lambda: works(learner, want))
    alone = EdgeLearner(tiny_student())
    alone.learn(PIXELS, LABELS, val=images(seed=2), options=QUICK)
    assert not changed(alone.student, learner.student)


@needs_fork
def test_score_may_fork_a_child_that_asks_the_learner() -> None:
    learner = EdgeLearner(tiny_student())
    want = learner.logits(PIXELS)
    good = []

    def refuses() -> bool:
        with pytest.raises(RuntimeError, match="from inside another call"):
            learner.learn(PIXELS, LABELS)
        return np.array_equal(learner.logits(PIXELS), want)

    def score(evaluation: Any) -> float:
        good.append(good_in_a_child(refuses))
        return 1.0

    learner.learn(PIXELS, LABELS, val=images(seed=2), score=score, options=QUICK)
    assert good == [True, True]


def ask_and_teach(learner: EdgeLearner, seed: int) -> tuple[np.ndarray, EdgeLearner]:
    before = learner.logits(PIXELS)
    learner.learn(PIXELS, LABELS, options=QUICK, seed=seed)
    return before, learner


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_learner_goes_to_other_processes_and_comes_back_taught(method: str) -> None:
    learner = EdgeLearner(tiny_student(), threads=2)
    want = learner.logits(PIXELS)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        asked = [pool.submit(ask_and_teach, learner, seed) for seed in range(2)]
        found = [each.result(SOON_S) for each in asked]
    assert all(np.array_equal(before, want) for before, _ in found)
    assert np.array_equal(learner.logits(PIXELS), want)
    for seed, (_, taught) in enumerate(found):
        learner_here = EdgeLearner(tiny_student())
        learner_here.learn(PIXELS, LABELS, options=QUICK, seed=seed)
        assert not changed(learner_here.student, taught.student)
        assert np.array_equal(taught.logits(PIXELS), learner_here.logits(PIXELS))


class Answered:
    """A data set whose items are answers, for a loader whose workers are forked."""

    def __init__(self, learner: EdgeLearner) -> None:
        self.learner = learner

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.learner.logits(PIXELS[index : index + 1])[0]


def test_learner_in_the_workers_of_a_torch_loader() -> None:
    data = pytest.importorskip("torch.utils.data")
    learner = EdgeLearner(tiny_student(), threads=2)
    want = [learner.logits(PIXELS[i : i + 1])[0] for i in range(48)]
    loader: Iterator[Any] = data.DataLoader(Answered(learner), batch_size=8, num_workers=2)
    found = np.concatenate([batch.numpy() for batch in loader])
    assert np.array_equal(found, np.array(want))
