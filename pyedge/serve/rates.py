"""Rates: how many requests a device may make in a minute, and how many at a time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

_MOST_KNOWN = 10_000  # senders whose bucket is remembered


class Rates:
    """A bucket of requests for each sender, refilled evenly. Threads may share it."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = float(per_minute)
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, sender: str) -> float:
        """Take one request; return 0, or in how many seconds there will be one."""
        with self._lock:
            now = self._clock()
            left, since = self._left.pop(sender, (self._size, now))
            left = min(self._size, left + (now - since) * self._size / 60)
            wait = 0.0 if left >= 1 else (1 - left) * 60 / self._size
            self._left[sender] = (left - 1 if left >= 1 else left, now)  # the latest comes last
            while len(self._left) > _MOST_KNOWN:
                del self._left[next(iter(self._left))]
            return wait


class AtOnce:
    """How many requests of each sender run now. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()

    def enter(self, sender: str) -> bool:
        """Count one more, unless the sender has as many as it may have."""
        with self._lock:
            if self._running[sender] >= self._most:
                return False
            self._running[sender] += 1
            return True

    def leave(self, sender: str) -> None:
        """Count one less."""
        with self._lock:
            self._running[sender] -= 1
            if self._running[sender] <= 0:
                del self._running[sender]
