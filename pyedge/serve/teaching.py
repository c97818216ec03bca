"""Teaching: what teachers know of images, in batches that are filled from many requests.

One thread runs the teachers. While it computes, requests gather; the next batch takes images from
as many of them as it has room for, so that a busy service runs full batches and an idle one answers
at once. Batch norm is frozen: an answer does not depend on which images shared its batch.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyedge.cloud.knowledge_inputs import Pair, digest_of, fit
from pyedge.cloud.knowledge_plan import full_manifest
from pyedge.cloud.knowledge_recorder import Recorder
from pyedge.cloud.knowledge_views import Views, draw_views, preprocess
from pyedge.cloud.network_file import load_network
from pyedge.cloud.training.trainable import teaching_mode
from pyedge.data.augment import Augment
from pyedge.images.digests import Digests, image_digests
from pyedge.images.edge_images import EdgeImages
from pyedge.serve.metrics import Metrics
from pyedge.serve.refusals import RefusalError
from pyedge.student.file import StudentFile

_BATCH = 128


@dataclass(frozen=True)
class Wanted:
    """What a device asks of a teacher. maps: besides the logits, in dtype."""

    images: EdgeImages
    maps: bool
    dtype: str


@dataclass(eq=False)
class _Lessons:
    """A teacher that fits a student, ready to answer."""

    pair: Pair
    classes: tuple[str, ...]
    digest: str


@dataclass(eq=False)
class _Job:
    """A request while the teacher works on it: `begun` of its images are in a batch."""

    lessons: _Lessons
    wanted: Wanted
    folder: Path
    digests: Digests
    views: Views
    recorder: Recorder
    opened: ExitStack
    answer: Future[Path] = field(default_factory=Future)
    begun: int = 0

    @property
    def left(self) -> int:
        return len(self.wanted.images) - self.begun


class Teaching:
    """The teachers of a service, and a thread that runs them."""

    def __init__(self, work: Path, metrics: Metrics, most: int) -> None:
        self._work = work
        self._metrics = metrics
        self._most = most
        self._known: dict[str, _Lessons] = {}
        self._opening = threading.Lock()
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="teaching", daemon=True)
        self._thread.start()

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
            self._known[name] = _Lessons(pair, pair.class_names(info.classes), digest_of(model))
        return student.input_shape

    def ask(self, name: str, wanted: Wanted) -> Future[Path]:
        """Have a teacher answer; the result is the folder of a pack, which the caller removes.

        Raises RefusalError if too many wait.
        """
        lessons = self._known[name]
        if self.waiting() >= self._most:
            raise RefusalError(503, "busy", "knowledge: too many requests wait", retry_after=2)
        job = self._job(lessons, wanted)
        with self._changed:
            if not self._closed:
                self._jobs.append(job)
                self._changed.notify()
                self._metrics.waiting.set(len(self._jobs))
                return job.answer
        _drop(job)
        raise RefusalError(503, "stopping", "knowledge: the service is stopping", retry_after=5)

    async def answer(self, name: str, wanted: Wanted) -> Path:
        """Have a teacher answer, without a thread that waits; see `ask`."""
        return await asyncio.wrap_future(await asyncio.to_thread(self.ask, name, wanted))

    def waiting(self) -> int:
        """Return how many requests wait for a teacher."""
        return len(self._jobs)

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _job(self, lessons: _Lessons, wanted: Wanted) -> _Job:
        digests = image_digests(wanted.images)
        manifest = full_manifest(
            lessons.pair,
            wanted.images,
            digests,
            classes=lessons.classes,
            teacher=lessons.digest,
            dtype=wanted.dtype,
            views=1,
            settings={"teacher_batch_norm": "frozen"},
            maps=wanted.maps,
        )
        plain = Augment(crop_padding=0, flip=False, cutout=0)
        views = draw_views(len(digests), 1, lessons.pair.student.input_shape, plain, 0, True)
        folder = Path(mkdtemp(prefix="pack-", dir=self._work))
        opened = ExitStack()
        recorder = opened.enter_context(Recorder(folder, manifest, durable=False))
        return _Job(lessons, wanted, folder, digests, views, recorder, opened)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if not self._jobs:
                    return
                shares = self._shares()
            try:
                self._teach(shares)
            except Exception as error:  # a teacher that fails, a full disk: their requests end
                for job, _ in shares:
                    _fail(job, error)
            done = {id(job) for job, _ in shares if job.answer.done() or not job.left}
            with self._changed:
                self._jobs = deque(job for job in self._jobs if id(job) not in done)
                self._metrics.waiting.set(len(self._jobs))

    def _shares(self) -> list[tuple[_Job, NDArray[np.int64]]]:
        """Choose the rows of the next batch: of the first job's teacher, in the order of asking."""
        lessons, room, shares = self._jobs[0].lessons, _BATCH, []
        for job in self._jobs:
            if job.lessons is lessons and room:
                count = min(room, job.left)
                shares.append((job, np.arange(job.begun, job.begun + count, dtype=np.int64)))
                job.begun += count
                room -= count
        return shares

    @torch.no_grad()
    def _teach(self, shares: list[tuple[_Job, NDArray[np.int64]]]) -> None:
        pair = shares[0][0].lessons.pair
        parts = [
            preprocess(job.wanted.images, rows, pair.student.preprocessing) for job, rows in shares
        ]
        with teaching_mode(pair.teacher, "frozen"):
            logits, maps = pair.answer(np.concatenate(parts))
        self._metrics.batches.inc()
        self._metrics.images.inc(len(logits))
        start = 0
        for job, rows in shares:
            part = slice(start, start + len(rows))
            start += len(rows)
            cut = [[block[part] for block in blocks] for blocks in maps]
            try:
                job.recorder.write(pair, logits[part], cut, rows)
                if not job.left:
                    job.recorder.finish(job.views, job.digests)
                    job.opened.close()
                    if not job.answer.set_running_or_notify_cancel():
                        _drop(job)  # its device has left
                    else:
                        job.answer.set_result(job.folder)
            except Exception as error:  # this request's images; others may be good
                _fail(job, error)


def _fail(job: _Job, error: Exception) -> None:
    if job.answer.done():
        return
    _drop(job)
    told: Any = error
    if isinstance(error, ValueError):
        told = RefusalError(422, "invalid", f"knowledge: {error}")
    if job.answer.set_running_or_notify_cancel():
        job.answer.set_exception(told)


def _drop(job: _Job) -> None:
    job.opened.close()
    shutil.rmtree(job.folder, ignore_errors=True)
