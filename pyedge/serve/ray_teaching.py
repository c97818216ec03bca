"""Teaching on Ray: the teachers are applications of Ray Serve, on one machine or many.

Ray Serve makes replicas and ends them, shares requests among them, fills their batches and begins
anew those that died. Here a request becomes pieces, and their answers a pack.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from starlette.concurrency import run_in_threadpool
from torch import nn

from pyedge.cloud.jobs.cluster import cluster
from pyedge.cloud.knowledge_inputs import digest_of, fit
from pyedge.cloud.knowledge_recorder import Answers
from pyedge.cloud.network_file import load_network
from pyedge.serve.lessons import OpenPack, Taught, Wanted
from pyedge.serve.logs import log
from pyedge.serve.packing import Pack
from pyedge.serve.ray_replica import MOST_IMAGES, Asked, Replica
from pyedge.serve.refusals import RefusalError
from pyedge.serve.replicas import Replicas
from pyedge.serve.service import Service
from pyedge.student.file import StudentFile

_WHERE = "pyedge serve --engine ray"
# for how many students one machine runs the teachers with all replicas; a cluster knows by itself
_MOST_STUDENTS = 64
# requests that a replica has, or that wait at it: twice a full batch of single images
_MOST_ONGOING = 2 * MOST_IMAGES
# beyond so many Ray Serve makes another replica: two batches of 16 images a request
_BUSY = 16
_TURN_SECONDS = 1  # to wait for another student's replicas
_NOT_THERE = "knowledge: the teacher's replicas are not there"
_PATIENCE_SECONDS = 40  # for replicas to begin; Ray Serve knows by then what they wait for


@dataclass(frozen=True, eq=False)
class _OnRay(Taught):
    """A teacher that answers in replicas, and their handle; the pair has no network of its own."""

    handle: Any


class RayTeaching:
    """The teachers of a service, in replicas."""

    def __init__(self, service: Service, replicas: Replicas) -> None:
        self._metrics = service.metrics
        self._work = service.store.work
        # on a cluster that goes on, what a killed service left is taken over by the next one of the
        # same store on this machine; services elsewhere have replicas of their own
        mark = f"{platform.node()} {service.store.folder}"
        self._mark = hashlib.sha256(mark.encode()).hexdigest()[:8]
        self._most = service.limits.knowledge_at_once
        self._replicas = replicas
        self._known: dict[str, _OnRay] = {}
        self._opening = threading.Lock()
        self._waiting = 0
        self._opened = ExitStack()
        ray = self._opened.enter_context(cluster(_WHERE, replicas.most * _MOST_STUDENTS))
        if replicas.gpus and ray.cluster_resources().get("GPU", 0) < replicas.gpus:
            self._opened.close()
            raise ValueError(
                f"gpus_per_replica: wanted 0, since Ray has no GPU here, got {replicas.gpus:g}"
            )
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled")  # requests come by pyedge's own server

    def shape(self, name: str) -> tuple[int, int, int] | None:
        """Return c h w of a student's images, or None if its teacher is not open yet."""
        known = self._known.get(name)
        return None if known is None else known.pair.student.input_shape

    def open(self, name: str, student: StudentFile, path: str) -> tuple[int, int, int]:
        """Start the replicas of a student's teacher, and return c h w of their images.

        Raises as `load_network`, ValueError if it does not fit the student, and RefusalError while
        replicas of a student are waited for: a request that waited would hold a thread of all.
        """
        if not self._opening.acquire(timeout=_TURN_SECONDS):
            raise RefusalError(503, "teacher", _NOT_THERE, retry_after=5)
        try:
            known = self.shape(name)
            if known is not None:
                return known
            model, info = load_network(path)  # here once, for what is wrong with it
            student = replace(student, statistics=None, head={})
            pair = fit(model, student)
            classes, digest = pair.class_names(info.classes), digest_of(model)
            application = self._application(name)
            late = threading.Timer(_PATIENCE_SECONDS, _tell_of_waiting, [application])
            late.start()
            try:
                place, cuda = str(Path(path).resolve()), self._replicas.gpus > 0
                teacher = self._deployment().bind(place, student, cuda)
                handle = serve.run(teacher, name=application, route_prefix=None)
            except BaseException:
                serve.delete(application, _blocking=False)
                raise
            finally:
                late.cancel()
            bare = replace(pair, teacher=nn.Identity())
            self._known[name] = _OnRay(bare, classes, digest, handle)
        finally:
            self._opening.release()
        return student.input_shape

    async def answer(self, name: str, wanted: Wanted) -> Pack:
        """Have a teacher answer; the result is a pack, whose folder the caller removes.

        Raises RefusalError if too many wait, for answers that are not finite, and while the
        replicas are not there.
        """
        if self._waiting >= self._most:
            raise RefusalError(503, "busy", "knowledge: too many requests wait", retry_after=2)
        self._count(1)
        try:
            return await self._pack(self._known[name], wanted)
        finally:
            self._count(-1)

    def waiting(self) -> int:
        """Return how many requests wait for a teacher."""
        return self._waiting

    def close(self) -> None:
        """End the replicas, and what else was begun here; requests have ended before."""
        for name in self._known:
            serve.delete(self._application(name))
        self._opened.close()

    def _deployment(self) -> Any:
        least, most, gpus = self._replicas.least, self._replicas.most, self._replicas.gpus
        several: dict[str, Any] = {"num_replicas": least}
        if least < most:
            several = {
                "autoscaling_config": {
                    "min_replicas": least,
                    "max_replicas": most,
                    "target_ongoing_requests": _BUSY,
                }
            }
        teacher: Any = serve.deployment(Replica)
        return teacher.options(
            name="teacher",
            max_ongoing_requests=_MOST_ONGOING,
            ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
            **several,
        )

    def _application(self, name: str) -> str:
        return f"pyedge-{self._mark}-{name}"

    def _count(self, change: int) -> None:
        self._waiting += change  # of one event loop alone
        self._metrics.waiting.set(self._waiting)

    async def _pack(self, taught: _OnRay, wanted: Wanted) -> Pack:
        try:
            # all pieces are asked for at once: several replicas share a large request
            starts = range(0, len(wanted.images), MOST_IMAGES)
            every = np.arange(len(wanted.images), dtype=np.int64)
            pieces = [every[start : start + MOST_IMAGES] for start in starts]
            asked = [
                taught.handle.teach.remote(
                    Asked(wanted.images.subset(rows), wanted.maps, wanted.dtype)
                )
                for rows in pieces
            ]
            answers = [await each for each in asked]
            self._metrics.images.inc(len(wanted.images))
            return await run_in_threadpool(_write, taught, wanted, self._work, pieces, answers)
        except RayTaskError:  # the teacher's own: told in the log
            raise
        except (RayError, RayServeException) as error:  # a replica or its machine has died
            raise RefusalError(503, "teacher", _NOT_THERE, retry_after=5) from error
        except ValueError as error:
            raise RefusalError(422, "invalid", f"knowledge: {error}") from error


def _tell_of_waiting(application: str) -> None:
    """Log why replicas have not begun: a cluster may lack processors or GPUs, or be starting."""
    found = serve.status().applications.get(application)
    reasons = [] if found is None else [each.message for each in found.deployments.values()]
    log("waiting for replicas", logging.WARNING, application=application, reason=reasons[:1])


def _write(
    taught: Taught, wanted: Wanted, work: Path, pieces: list[Any], answers: list[Answers]
) -> Pack:
    """Make the pack of a request."""
    pack = OpenPack(taught, wanted, work)
    try:
        for rows, each in zip(pieces, answers, strict=True):
            pack.recorder.put(each, rows)
        return pack.finish()
    except BaseException:
        pack.drop()
        raise
