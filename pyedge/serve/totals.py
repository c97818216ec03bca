"""Totals: sums of many contributions, kept in memory for as long as their set is the same."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pyedge.serve.store import Store
from pyedge.statistics.merging import merged
from pyedge.statistics.statistics_file import read_statistics
from pyedge.statistics.sums import Statistics


class Totals:
    """The sum of each student's contributions. Sums do not depend on the order of adding."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[int, tuple[frozenset[str], Statistics]] = {}

    def of(self, student: int, digests: Sequence[str]) -> Statistics | None:
        """Return the sum of these contributions, or None for none.

        What was summed for this student before is added to if it can be; what was taken out since
        is not subtracted but summed anew, so that held images come back as well.
        """
        wanted = frozenset(digests)
        if not wanted:
            return None
        with self._lock:
            before = self._known.get(student)
        start, parts = frozenset[str](), list[Statistics]()
        if before is not None and before[0] <= wanted:
            start, parts = before[0], [before[1]]
        for digest in sorted(wanted - start):
            parts.append(read_statistics(self._store.blobs.path(digest)))
        total = parts[0] if len(parts) == 1 else merged(parts)
        with self._lock:
            self._known[student] = (wanted, total)
        return total
