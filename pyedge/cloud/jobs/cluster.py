"""The processes that jobs run in: Ray's, on this machine or on a cluster that runs already."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_INSTALL = 'pip install "pyedge[ray]"'


def need_ray(where: str) -> Any:
    """Return the module ray; ImportError that tells how to install it. `where` begins the message.

    Ray tells its makers what it is used for, unless the user's environment says otherwise; here it
    does not.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ImportError(f"{where} needs ray, which is not installed: {_INSTALL}") from error
    return ray


@contextmanager
def cluster(where: str, workers: int) -> Iterator[Any]:
    """Yield ray, connected to a cluster; what is begun here ends here.

    A program that is connected already stays so. Else it is the cluster that RAY_ADDRESS names, and
    without it one of this machine alone, with a processor for each of `workers`: as many processes
    as were asked for, whether or not the machine has as many.
    """
    ray = need_ray(where)
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if not os.environ.get("RAY_ADDRESS"):
        options |= {"address": "local", "num_cpus": workers, "include_dashboard": False}
    # Ray takes SIGTERM to end the process at once; how a program ends is its own affair
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(**options)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        ray.shutdown()
