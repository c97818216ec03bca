"""Fair timing: what is compared takes turns (A B A B), and medians are reported."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pyedge import kernels

# libgomp spins 300,000 rounds; a round with a pause instruction takes up to 140 cycles
_REST_S = 0.02
Contestants = Mapping[str, Callable[[], Any]]


def interleaved(
    contestants: Contestants, rounds: int, budget_s: float
) -> dict[str, tuple[float, float]]:
    """Time each contestant once a round; return its median and its quartile spread, in ms.

    Before each timed call comes a rest and an untimed call. OpenMP's threads (torch's) go on
    spinning for milliseconds after their work; without the rest whoever comes next would share
    its processors with them, and without the untimed call it would start with sleeping threads.
    A contestant that has used its share of the budget sits out the rounds after the third, so that
    slow ones do not decide how often fast ones run.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for call in contestants.values():
        call()
    share_ms = 1e3 * budget_s / max(len(contestants), 1)
    for number in range(rounds):
        for name, call in contestants.items():
            if number >= 3 and 2 * sum(times[name]) > share_ms:
                continue
            time.sleep(_REST_S)
            call()
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: (statistics.median(t), _spread(t)) for name, t in times.items()}


def machine(torch: Any | None) -> dict[str, Any]:
    """Describe what the figures were measured on."""
    facts = {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": None if torch is None else torch.__version__,
        "isa": kernels.isa(),
        "isas": list(kernels.available_isas()),
        "threads": kernels.num_threads(),
    }
    if torch is not None:
        facts["torch_threads"] = torch.get_num_threads()
    if hasattr(os, "getloadavg"):
        facts["load_average_before"] = round(os.getloadavg()[0], 2)
    return facts


def _spread(times: list[float]) -> float:
    if len(times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(times, n=4)
    return high - low


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
