"""The allocator of the process that runs teachers: it keeps memory that is freed.

A layer's map is freed when the next layers have read it. glibc gives memory of that size back to
the system, which fills it with zeros before the next map lies there: some 400 page faults an image
and a quarter of the service's processor time (its /proc/PID/stat during `python -m bench.serve
--teacher wrn_16_2`, with batches of 16 on two threads of an AMD EPYC).
"""

from __future__ import annotations

import ctypes

# of malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 << 20  # the most that glibc takes; a larger map has memory of its own
_KEPT_BYTES = 1 << 30  # free at the end of a heap


def keep_freed_memory() -> bool:
    """Have this process keep freed memory for what comes next; tell whether its allocator can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no glibc: another system, another library
        return False
    kept = mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT) == 1
    return mallopt(_TRIM_THRESHOLD, _KEPT_BYTES) == 1 and kept
