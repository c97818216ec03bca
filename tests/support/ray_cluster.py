"""Ray on this machine for tests: two processes, little memory, and a limit of time."""

from __future__ import annotations

import gc
import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

NO_RAY = 'ray is not installed: make test-ray, or pip install "pyedge[ray]"'
_OBJECTS = 100 << 20  # bytes of Ray's object store: it takes a third of the machine's otherwise


@contextmanager
def two_processes() -> Iterator[Any]:
    """Yield ray with two CPUs; it ends with all that it has begun."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=_OBJECTS,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it does not wait for its processes
            ray.shutdown()
            gc.collect()


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the main thread after so many seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Dying:
    """Work that squares numbers; the process that gets the third is killed there, once."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def do(self, part: int) -> int:
        """Return the square of a number."""
        if part == 3 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return part * part


class Telling:
    """Work that calls a function with each part."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def do(self, part: Any) -> Any:
        """Return what the function does."""
        return self.function(part)
