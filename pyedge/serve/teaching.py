"""Teaching: what teachers know of images, in batches that are filled from many requests.

Some threads run the teachers, each a batch of its own. While they compute, requests gather; the
next batch takes images from as many of them as it has room for, so that a busy service runs full
batches, and an idle one answers at once, with what there is dealt out among its threads. Batch norm
is frozen: an answer does not depend on which images shared its batch.

A batch for each thread does more than one batch on all: torch's threads wait for each other after
every layer, and where a request takes one of the processors, all of them wait for that one.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyedge.cloud.knowledge_inputs import digest_of, fit
from pyedge.cloud.knowledge_views import preprocess
from pyedge.cloud.network_file import load_network
from pyedge.serve.allocator import keep_freed_memory
from pyedge.serve.lessons import OpenPack, Taught, Wanted
from pyedge.serve.metrics import Metrics
from pyedge.serve.packing import Pack
from pyedge.serve.refusals import RefusalError
from pyedge.student.file import StudentFile

_BATCH = 32
_MOST_WORKERS = 4
_SMALL_IMAGES = 1 << 17  # bytes whose digests take less than a change of threads

Rows = NDArray[np.int64]


@dataclass(eq=False)
class _Job:
    """A request while the teacher works on it: `begun` of its images are in a batch."""

    taught: Taught
    wanted: Wanted
    pack: OpenPack
    answer: Future[Pack] = field(default_factory=Future)
    writing: threading.Lock = field(default_factory=threading.Lock)
    begun: int = 0
    written: int = 0

    @property
    def left(self) -> int:
        return len(self.wanted.images) - self.begun


Share = tuple[_Job, Rows]  # of a batch


class Teaching:
    """The teachers of a service, and the threads that run them: `workers`, or by the machine."""

    def __init__(self, work: Path, metrics: Metrics, most: int, workers: int | None = None) -> None:
        self._work = work
        self._metrics = metrics
        self._most = most
        self._known: dict[str, Taught] = {}
        self._opening = threading.Lock()
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._closed = False
        keep_freed_memory()
        processors = torch.get_num_threads()
        self._idle = count = workers or _workers(processors)
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(max(1, processors // count),),
                name=f"teaching-{i}",
                daemon=True,
            )
            for i in range(count)
        ]
        for each in self._threads:
            each.start()

    def shape(self, name: str) -> tuple[int, int, int] | None:
        """Return c h w of a student's images, or None if its teacher is not open yet."""
        known = self._known.get(name)
        return None if known is None else known.pair.student.input_shape

    def open(self, name: str, student: StudentFile, path: str) -> tuple[int, int, int]:
        """Load a student's teacher from its network file, and return c h w of their images.

        Raises as `load_network`, and ValueError if it does not fit the student.
        """
        with self._opening:
            known = self.shape(name)
            if known is not None:
                return known
            model, info = load_network(path)
            pair = fit(model, student)
            pair.teacher.eval()  # for good: threads share it
            self._known[name] = Taught(pair, pair.class_names(info.classes), digest_of(model))
        return student.input_shape

    def ask(self, name: str, wanted: Wanted) -> Future[Pack]:
        """Have a teacher answer; the result is a pack, whose folder the caller removes.

        Raises RefusalError if too many wait.
        """
        taught = self._known[name]
        if self.waiting() >= self._most:
            raise RefusalError(503, "busy", "knowledge: too many requests wait", retry_after=2)
        job = _Job(taught, wanted, OpenPack(taught, wanted, self._work))
        with self._changed:
            if not self._closed:
                self._jobs.append(job)
                self._changed.notify_all()
                self._metrics.waiting.set(len(self._jobs))
                return job.answer
        job.pack.drop()
        raise RefusalError(503, "stopping", "knowledge: the service is stopping", retry_after=5)

    async def answer(self, name: str, wanted: Wanted) -> Pack:
        """Have a teacher answer, without a thread that waits; see `ask`."""
        if wanted.images.array.nbytes <= _SMALL_IMAGES and not wanted.maps:  # and no file is opened
            return await asyncio.wrap_future(self.ask(name, wanted))
        return await asyncio.wrap_future(await asyncio.to_thread(self.ask, name, wanted))

    def waiting(self) -> int:
        """Return how many requests have images that no teacher has begun with."""
        return len(self._jobs)

    def close(self) -> None:
        """Answer what waits, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for each in self._threads:
            each.join()

    def _run(self, threads: int) -> None:
        torch.set_num_threads(threads)
        while True:
            with self._changed:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if not self._jobs:
                    return
                shares = self._shares()
                self._metrics.waiting.set(len(self._jobs))
                if not shares:
                    continue
                self._idle -= 1
            try:
                self._teach(shares)
            except Exception as error:  # a teacher that fails: its requests end
                for job, _ in shares:
                    _fail(job, error)
            with self._changed:
                self._idle += 1

    def _shares(self) -> list[Share]:
        """Choose the rows of the next batch: of the first job's teacher, in the order of asking.

        None of a job that failed, or whose device has left: nobody waits for its answer.
        """
        # asked once of each: a device may leave meanwhile
        gone = [job for job in self._jobs if job.answer.done()]
        for job in gone:
            _drop(job)
        self._jobs = deque(job for job in self._jobs if job not in gone)
        if not self._jobs:
            return []
        taught = self._jobs[0].taught
        fitting = [job for job in self._jobs if job.taught is taught]
        room = min(_BATCH, math.ceil(sum(job.left for job in fitting) / self._idle))
        shares = []
        for job in fitting:
            count = min(room, job.left)
            if count:
                shares.append((job, np.arange(job.begun, job.begun + count, dtype=np.int64)))
            job.begun += count
            room -= count
        self._jobs = deque(job for job in self._jobs if job.left)
        return shares

    @torch.inference_mode()
    def _teach(self, shares: list[Share]) -> None:
        pair = shares[0][0].taught.pair
        parts = [
            preprocess(job.wanted.images, rows, pair.student.preprocessing) for job, rows in shares
        ]
        logits, maps = pair.answer(np.concatenate(parts))
        self._metrics.batches.inc()
        self._metrics.images.inc(len(logits))
        start = 0
        for job, rows in shares:
            part = slice(start, start + len(rows))
            start += len(rows)
            cut = [[block[part] for block in blocks] for blocks in maps]
            try:
                _write(job, logits[part], cut, rows)
            except Exception as error:  # this request's images, a full disk; others may be good
                _fail(job, error)


def _workers(processors: int) -> int:
    """Return how many threads teach: as many as share the processors without a rest."""
    return next(n for n in range(min(_MOST_WORKERS, processors), 0, -1) if processors % n == 0)


def _write(job: _Job, logits: Tensor, maps: list[list[Tensor]], rows: Rows) -> None:
    """Write a part of an answer, and give the answer when it is whole."""
    with job.writing:
        if job.answer.done():  # another part has failed, or its device has left
            job.pack.drop()
            return
        job.pack.recorder.write(job.taught.pair, logits, maps, rows)
        job.written += len(rows)
        if job.written < len(job.wanted.images):
            return
        pack = job.pack.finish()
        if job.answer.set_running_or_notify_cancel():
            job.answer.set_result(pack)
        else:
            job.pack.drop()


def _fail(job: _Job, error: Exception) -> None:
    told: Any = error
    if isinstance(error, ValueError):
        told = RefusalError(422, "invalid", f"knowledge: {error}")
    with job.writing:
        if job.answer.done():
            if job.answer.cancelled():
                job.pack.drop()
            return
        job.pack.drop()
        if job.answer.set_running_or_notify_cancel():
            job.answer.set_exception(told)


def _drop(job: _Job) -> None:
    with job.writing:
        job.pack.drop()
