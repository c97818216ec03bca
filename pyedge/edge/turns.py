"""Turns: a learner's student and its engine, for several threads, callbacks, forks and copies.

An engine serves one call at a time: its buffers, which are most of its memory, belong to the call
that runs. So threads take turns. There are at most two engines; the second is made when two calls
come at once. Handing one engine from thread to thread costs a tenth of a small batch, to wake the
next thread, and with two engines nobody waits for that. Buffers for each call would take several
times the memory that a device is said to need; if `limit` is given, there is only one engine. With
a single thread the locks cost some tenths of a microsecond (python -m bench.learner_threads
measures both).

Three locks. `_changing` is held from beginning to end by calls that change the student: `learn` and
`add_classes`. `_answering` is held for one answer by the thread that computes with the engine that
answers; while one engine is away to learn, that is a second one. `_beside` is held by the thread
that computes with the spare engine, and never waited for.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pyedge.edge.footprint import Footprint, needed_bytes

if TYPE_CHECKING:
    from pyedge.kernels import Engine
    from pyedge.student.file import StudentFile

T = TypeVar("T")
_here = threading.local()  # how many learners the thread is teaching, one inside another
_LOOK_S = 1.0  # who waits for an engine to come back looks by himself too


@dataclass
class _Loan:
    """The engine is away to learn: for which thread, and how much memory is left meanwhile."""

    thread: int
    answer_bytes: int  # what a second engine takes to answer for one image
    taken_bytes: float = math.inf  # by learning, beside the student; at first that is not known

    def takes(self, count: int) -> None:
        self.taken_bytes = count


class Turns:
    """A learner's student, and whose turn it is to use the engine.

    `threads`: of the engine, None: the process's. `limit`: bytes that all of it may take, or None.
    `precision`: the engine's. The student's arrays are made read-only: copies share them.
    """

    def __init__(
        self,
        student: StudentFile,
        threads: int | None,
        limit: int | None,
        precision: str = "float32",
    ) -> None:
        self._student = _read_only(student)
        self._threads = threads
        self._limit = limit
        self._precision = precision
        self._engine: Engine | None = None
        self._second: Engine | None = None  # the one that answers while the first is away
        self._spare: tuple[StudentFile, Engine] | None = None  # for a call while another runs
        self._loan: _Loan | None = None
        # the threads that hold the locks
        self._changer: int | None = None
        self._answerer: int | None = None
        self._new_locks()
        _all_turns.add(self)

    def _new_locks(self) -> None:
        self._changing = threading.Lock()
        # a signal's handler may ask for an answer while its own thread gives one
        self._answering = threading.RLock()
        self._beside = threading.RLock()
        self._returned = threading.Condition(self._answering)

    @property
    def student(self) -> StudentFile:
        """The current student; while it learns, the one from before."""
        return self._student

    def __copy__(self) -> Turns:
        return Turns(self._student, self._threads, self._limit, self._precision)

    def __deepcopy__(self, memo: dict[int, Any]) -> Turns:
        return self.__copy__()  # nothing of the student can be changed

    def __reduce__(self) -> tuple[Any, ...]:
        return Turns, (self._student, self._threads, self._limit, self._precision)

    def answer(self, call: str, body: Callable[[StudentFile, Engine, int | None], T]) -> T:
        """Return body(student, engine, bytes that it may take), which must not change either.

        While the student learns, both are as they were before.
        """
        if self._limit is None and self._beside.acquire(blocking=False):
            try:
                if not self._answering.acquire(blocking=False):
                    return self._answer_beside(body)
                self._answering.release()
            finally:
                self._beside.release()
        # locks stand in a `with` themselves: no KeyboardInterrupt comes between lock and block
        with self._answering:
            engine, limit = self._engine_that_answers(call)
            before, self._answerer = self._answerer, threading.get_ident()
            try:
                return body(self._student, engine, limit)
            finally:
                self._answerer = before

    def _answer_beside(self, body: Callable[[StudentFile, Engine, int | None], T]) -> T:
        """Answer with a spare engine, while another thread has the one that answers."""
        student, spare = self._student, self._spare
        if spare is None or spare[0] is not student:
            self._spare = spare = student, self._new_engine(student)
        return body(student, spare[1], None)

    def change(self, call: str, body: Callable[[], T]) -> T:
        """Return body(), which may `replace` the student or `lend` its engine."""
        mine = threading.get_ident()
        if mine in (self._changer, self._answerer):
            raise RuntimeError(
                f"{call}: called from inside another call of the same learner (by score, by an "
                "iterable of images, by a signal handler); call it after that has returned"
            )
        with self._changing:
            self._changer = mine
            try:
                if self._loan is not None:  # a second Ctrl-C has cut off its end
                    with self._answering:
                        self._end_loan()
                return body()
            finally:
                self._changer = None

    def replace(self, student: StudentFile) -> None:
        """Change to another student and its engine, which is made before anything changes."""
        engine = self._new_engine(_read_only(student))
        with self._answering:
            self._student, self._engine, self._spare = student, engine, None

    def lend(
        self,
        body: Callable[[StudentFile, Engine, Callable[[int], None]], tuple[StudentFile, T]],
        restore: Callable[[StudentFile, Engine], None],
    ) -> T:
        """Change to the student that body(student, engine, takes) makes; return its other result.

        It calls `takes` with the bytes that it needs besides the student's arrays. If it raises,
        the student stays, and `restore` resets the engine to it, or a new one is made.
        """
        with self._answering:
            engine, _ = self._engine_that_answers("learn")
            one = needed_bytes(Footprint.at_rest(engine, self._student), 1, training=False)
            loan = _Loan(threading.get_ident(), one)
            self._engine, self._loan = None, loan
        _here.learning = getattr(_here, "learning", 0) + 1
        try:
            student, result = body(self._student, engine, loan.takes)
            _read_only(student)
            if student.nodes != self._student.nodes:  # a classifier that has got a bias
                engine = self._new_engine(student)
            with self._answering:
                self._student, self._engine, self._second, self._loan = student, engine, None, None
                self._spare = None
                self._returned.notify_all()
        except BaseException:
            with suppress(Exception):
                restore(self._student, engine)
                self._engine = engine
            with self._answering:
                self._end_loan()
            raise
        finally:
            _here.learning -= 1
        return result

    def _end_loan(self) -> None:
        self._second = self._loan = None
        self._returned.notify_all()

    def _engine_that_answers(self, call: str) -> tuple[Engine, int | None]:
        """Return the engine that answers now, and the bytes that it may take."""
        while self._loan is not None:
            if self._changer != self._loan.thread:  # as above: nobody learns
                self._end_loan()
                break
            room = None if self._limit is None else self._limit - self._loan.taken_bytes
            if room is None or room >= self._loan.answer_bytes:
                if self._second is None:
                    self._second = self._new_engine(self._student)
                return self._second, None if room is None else int(room)
            if getattr(_here, "learning", 0) and self._loan.thread != threading.get_ident():
                raise RuntimeError(
                    f"{call}: called from inside learn of another learner, while this one learns "
                    f"and its max_memory={self._limit:,} bytes have no room for a second engine; "
                    "waiting here could last for ever"
                )
            if self._loan.thread == threading.get_ident():
                raise RuntimeError(
                    f"{call}: called from inside learn of the same learner, whose "
                    f"max_memory={self._limit:,} bytes have no room for a second engine"
                )
            self._returned.wait(_LOOK_S)
        if self._engine is None:
            self._engine = self._new_engine(self._student)
        return self._engine, self._limit

    def _new_engine(self, student: StudentFile) -> Engine:
        engine = student.engine(self._precision)
        if self._threads is not None:
            engine.set_threads(self._threads)
        return engine

    def _after_fork(self) -> None:
        """In the child of a fork, release what its parent's other threads held."""
        here = threading.get_ident()
        if self._changer != here:  # its loan, if it has one, is over by that
            self._changer = None
        if not self._answering.acquire(blocking=False):  # an engine in the middle of a call
            self._engine = self._second = self._answerer = None
        if not self._beside.acquire(blocking=False):
            self._spare = None
        self._new_locks()


def _read_only(student: StudentFile) -> StudentFile:
    groups = (student.arrays, student.state, student.weight_scales)
    for array in (*(each for group in groups for each in group.values()), *student.kept):
        array.flags.writeable = False
    if student.statistics is not None:
        for array in student.statistics.arrays().values():
            array.flags.writeable = False
    return student


_all_turns: weakref.WeakSet[Turns] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for turns in list(_all_turns):
        turns._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
