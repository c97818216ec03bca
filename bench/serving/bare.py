"""The teacher without a service: its forward on full batches, in some ways to share a machine."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.serving.case import SHAPE, bare

_BATCHES = (16, 32, 64, 128)
_TRIAL_IMAGES = 256
_TRIALS = 3


@dataclass(frozen=True)
class Way:
    """Some threads with a batch each, and torch's threads for each of them."""

    batches_at_once: int
    threads: int
    batch: int

    def told(self) -> dict[str, int]:
        """Return it for a report."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.batches_at_once} at once of {self.batch} images, {self.threads} threads each"


def best_way(teacher: nn.Module) -> Way:
    """Return the way of most images a second: all are tried in turns, and the best turn counts."""
    threads = torch.get_num_threads()
    layouts = sorted({(1, threads), (threads, 1)})
    ways = [Way(*layout, batch) for layout, batch in itertools.product(layouts, _BATCHES)]
    fastest = dict.fromkeys(ways, 0.0)
    for _, way in itertools.product(range(_TRIALS), ways):
        fastest[way] = max(fastest[way], speed(teacher, way, _TRIAL_IMAGES)[0])
    return max(ways, key=fastest.__getitem__)


def speed(teacher: nn.Module, way: Way, count: int) -> tuple[float, float]:
    """Return images a second, and images a second of processor time, of some `count` images."""
    calls = max(1, count // (way.batch * way.batches_at_once))
    images = calls * way.batch * way.batches_at_once
    began = threading.Barrier(way.batches_at_once + 1)
    pixels = np.random.default_rng(0).integers(0, 256, (way.batch, *SHAPE)).astype(np.uint8)
    work = [
        threading.Thread(target=_work, args=(teacher, way.threads, pixels, calls, began.wait))
        for _ in range(way.batches_at_once)
    ]
    for each in work:
        each.start()
    began.wait()
    since, busy = time.perf_counter(), time.process_time()
    for each in work:
        each.join()
    seconds, spent = time.perf_counter() - since, time.process_time() - busy
    return images / seconds, images / spent


def _work(
    teacher: nn.Module,
    threads: int,
    pixels: NDArray[np.uint8],
    calls: int,
    wait: Callable[[], Any],
) -> None:
    torch.set_num_threads(threads)
    bare(teacher, pixels)
    wait()
    for _ in range(calls):
        bare(teacher, pixels)
