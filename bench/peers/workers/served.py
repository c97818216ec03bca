"""A worker process: answers lines on standard input with lines of JSON.

    python -m bench.peers.workers.served WORKER VARIANT KIND FOLDER THREADS

"answer" gives what its parent checks: a file of logits, or the losses of some steps. "time" makes
an untimed call and times the next, in ms. "peak" gives the largest resident memory of the whole
process during a call.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.workers.task import Task, UnableError

STEPS = 4  # of an answer


def main() -> None:
    """Open the worker, tell that it is ready or why it is not, and answer."""
    worker, variant, kind, folder, threads = sys.argv[1:]
    # whatever a runtime prints goes elsewhere than the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**facts: Any) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    task = Task(Path(folder), kind, int(threads))
    try:
        module = import_module(f"bench.peers.workers.{worker}")
        if hasattr(module, "convert"):
            _apart(module.convert, task)
        call = getattr(module, kind)(task, variant)
        found = _answer(call, kind)
    except UnableError as error:
        tell(unable=str(error))
        return
    except Exception as error:  # what a peer fails with is part of the table
        tell(failed=f"{type(error).__name__}: {_first_line(error)}")
        raise
    tell(ready=True)
    for line in sys.stdin:
        asked = line.strip()
        if asked == "answer" and kind == "step":
            tell(losses=found)
        elif asked == "answer":
            path = Path(folder) / f"answer_{os.getpid()}.npy"
            np.save(path, found)
            tell(logits=str(path))
        elif asked == "time":
            call()
            began = time.perf_counter()
            call()
            tell(ms=1e3 * (time.perf_counter() - began))
        elif asked == "peak":
            tell(bytes=_peak(call))


def _apart(convert: Callable[[Task], None], task: Task) -> None:
    """Convert in a process of its own: what that needs is no part of what runs on a device."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(convert, task).result()


def _answer(call: Callable[[], Any], kind: str) -> Any:
    """The first call may compile, and is part of the answer."""
    if kind == "step":
        return [float(call()) for _ in range(STEPS)]
    return np.asarray(call(), np.float32)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else "no message"


def _peak(call: Callable[[], Any]) -> int:
    Path("/proc/self/clear_refs").write_text("5")
    call()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


if __name__ == "__main__":
    main()
