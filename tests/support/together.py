"""Calls in several threads at once, and a learner that is in the middle of `learn`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from pyedge.edge.learn_options import LearnOptions
from pyedge.edge.learner import EdgeLearner
from tests.support.edge_student import images

QUICK = LearnOptions(epochs=2, batch_size=16, lr=0.1, progress=False)
PIXELS, LABELS = images()
SOON_S = 60  # a deadlock takes longer


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """Start the calls together, each in a thread; return what they do, or raise what they raise."""
    with ThreadPoolExecutor(len(calls)) as pool:
        start = threading.Barrier(len(calls))

        def begin(call: Callable[[], Any]) -> Any:
            start.wait(SOON_S)
            return call()

        return [each.result(SOON_S) for each in [pool.submit(begin, call) for call in calls]]


class Held:
    """A `score` that keeps `learn` from ending until it is let go of."""

    def __init__(self) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()

    def __call__(self, evaluation: Any) -> float:
        self.inside.set()
        assert self.go_on.wait(SOON_S)
        return evaluation.accuracy


@contextmanager
def learning(learner: EdgeLearner, **options: Any) -> Iterator[Held]:
    """Have another thread in the middle of `learn`; its end is waited for."""
    held = Held()
    with ThreadPoolExecutor(1) as pool:
        learned = pool.submit(
            learner.learn, PIXELS, LABELS, val=images(seed=2), score=held, options=QUICK, **options
        )
        assert held.inside.wait(SOON_S)
        try:
            yield held
        finally:
            held.go_on.set()
        learned.result(SOON_S)
