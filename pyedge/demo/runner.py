"""Run the protocol's jobs in processes, in two stages: the teachers, then what needs them."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from pyedge.demo.device import incremental_job, unseen_job
from pyedge.demo.job import Job, Sets, save_sets
from pyedge.demo.presets import Preset
from pyedge.demo.protocol import compression_job, teacher_job

Say = Callable[[str], None]
_SECOND_STAGE: tuple[tuple[str, Callable[[Job], dict[str, Any]]], ...] = (
    ("unseen", unseen_job),  # the longest first
    ("compression", compression_job),
    ("incremental", incremental_job),
)


def run_protocol(
    preset: Preset, sets: Sets, seeds: Sequence[int], pictures: Path, workers: int, say: Say
) -> dict[str, list[dict[str, Any]]]:
    """Run every job for every seed, and return {"teacher": [a result for each seed], ...}.

    Processes share only a scratch folder, which is removed afterwards. Each computes with one
    thread when there are more jobs than processors.
    """
    start = time.time()
    # a waiting thread that spins takes the processor from the job that it waits for
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with (
        tempfile.TemporaryDirectory(prefix="pyedge-demo-") as scratch,
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        folder = Path(scratch)
        save_sets(sets, folder)

        def stage(kinds: Sequence[tuple[str, Callable[[Job], dict[str, Any]]]]) -> dict[str, Any]:
            wanted = [(name, job, seed) for name, job in kinds for seed in seeds]
            threads = max(1, available_cpus() // min(workers, len(wanted)))
            futures = {
                pool.submit(job, Job(preset, folder, pictures, seed, threads)): (name, seed)
                for name, job, seed in wanted
            }
            found: dict[str, dict[int, Any]] = {name: {} for name, _ in kinds}
            for future in as_completed(futures):
                name, seed = futures[future]
                found[name][seed] = future.result()
                say(f"[{time.time() - start:5.0f} s] seed {seed}: {name} done")
            return {name: [results[seed] for seed in seeds] for name, results in found.items()}

        return {**stage([("teacher", teacher_job)]), **stage(_SECOND_STAGE)}


def available_cpus() -> int:
    """Return the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
