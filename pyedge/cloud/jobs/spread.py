"""Spreading work over processes: a data set of parts, which a pool of Ray's actors goes through.

Which actor takes which part, how many wait, and what is done again after a machine has gone, is
Ray's business. Here is only what a part is, and that its result comes in its place.
"""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pyedge.cloud.jobs.cluster import cluster
from pyedge.warning import warn

Part = TypeVar("Part")
Result = TypeVar("Result")


PartIn = TypeVar("PartIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)


class Work(Protocol[PartIn, ResultOut]):
    """What a process is sent once, and does for each part."""

    def do(self, part: PartIn) -> ResultOut:
        """Return the result of a part."""


class _Done(NamedTuple):
    """How a part ended: with a result, or an error; and what was warned of."""

    result: Any
    error: Exception | None
    warned: list[tuple[type[Warning], str]]


def spread(
    work: Work[Part, Result], parts: Sequence[Part], workers: int, where: str, gpus: int = 0
) -> Iterator[Result]:
    """Yield the result of each part, in their order, done by `workers` processes of one CPU each.

    gpus: of each process. An error of a part is raised here as it was there, and what was warned of
    there is told here, once. Messages begin with `where`. Raises ImportError without Ray.
    """
    told: set[str] = set()
    with cluster(where, workers) as ray, _quiet(ray):
        if gpus and not ray.cluster_resources().get("GPU"):
            raise ValueError(f"{where}: wanted a GPU for each worker, got a Ray cluster without")
        from ray.data import ActorPoolStrategy, from_items

        sent = ray.put(work)
        rows = [{"part": pickle.dumps(part)} for part in parts]
        done = from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=([sent],),  # in a list: Ray would put its value in the place of it
            batch_size=1,
            batch_format="numpy",
            compute=ActorPoolStrategy(size=min(workers, len(rows))),
            num_cpus=1,
            num_gpus=gpus,
        )
        for row in done.iter_rows():
            found: _Done = pickle.loads(row["done"])
            for category, text in found.warned:
                # what is wrong with a file is told with the first of them
                kind = text.partition(": ")[2] or text
                if kind not in told:
                    told.add(kind)
                    warn(text, category)
            if found.error is not None:
                raise found.error
            yield found.result


class _Worker(Generic[Part, Result]):
    """An actor of the pool."""

    def __init__(self, sent: list[Any]) -> None:
        import ray
        import torch

        from pyedge import kernels

        # more workers, not more threads: torch's results are then the same bits everywhere
        torch.set_num_threads(1)
        kernels.set_num_threads(1)
        self._work: Work[Part, Result] = ray.get(sent[0])

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"done": [pickle.dumps(self._done(pickle.loads(part))) for part in batch["part"]]}

    def _done(self, part: Part) -> _Done:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            for category in (UserWarning, RuntimeWarning):
                warnings.simplefilter("always", category)
            result, error = None, None
            try:
                result = self._work.do(part)
            except Exception as found:
                error = found
        return _Done(result, error, [(each.category, str(each.message)) for each in caught])


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keep results in order, and keep Ray from telling of each step; afterwards as it was."""
    import ray.data as data

    context = data.DataContext.get_current()
    options = context.execution_options
    before = options.preserve_order, context.enable_progress_bars
    # the second warns that there is no progress bar
    levels = {"ray.data": logging.WARNING, "ray.data._internal.progress": logging.ERROR}
    loggers = {logging.getLogger(name): level for name, level in levels.items()}
    levels_before = {logger: logger.level for logger in loggers}
    options.preserve_order, context.enable_progress_bars = True, False
    for logger, level in loggers.items():
        logger.setLevel(level)
    try:
        yield
    finally:
        options.preserve_order, context.enable_progress_bars = before
        for logger, level in levels_before.items():
            logger.setLevel(level)
