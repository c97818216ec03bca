"""The service's allocator keeps freed memory, so that a teacher's maps cost no page faults."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from pyedge.serve.allocator import keep_freed_memory

# arrays as large as a network's maps, all freed at the end of a turn
_PROGRAM = """
import resource, sys
import numpy as np
from pyedge.serve.allocator import keep_freed_memory

def work():
    for _ in range(20):
        [np.full(2 << 20, 1, np.uint8) for _ in range(50)]

if sys.argv[1] == "kept":
    assert keep_freed_memory()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", _PROGRAM, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_kept_memory_is_used_again_without_page_faults() -> None:
    pages = (100 << 20) // 4096  # of one turn
    assert faults("kept") < pages < 10 * pages < faults("as it is")


def test_another_allocator_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
