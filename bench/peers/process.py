"""A worker as its parent holds it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]


class WorkerError(Exception):
    """A worker that cannot do what is asked, with its reason."""


class Worker:
    """A process that does one thing again and again. Raises WorkerError if it cannot begin."""

    def __init__(
        self, python: Path, worker: str, variant: str, kind: str, folder: Path, threads: int
    ) -> None:
        self.errors = folder / f"{worker}_{variant}_{kind}.log".replace(" ", "_")
        command = [python, "-m", "bench.peers.workers.served", worker, variant, kind, folder,
                   threads]  # fmt: skip
        variables = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": str(threads)}
        with self.errors.open("w") as errors:
            self._process = subprocess.Popen(
                [str(each) for each in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True, env=variables, cwd=folder,
            )  # fmt: skip
        first = self._read()
        if not first.get("ready"):
            self.close()
            raise WorkerError(first.get("unable") or first.get("failed") or "ended without a word")

    def ask(self, what: str) -> dict[str, Any]:
        """Ask "answer", "time" or "peak". Raises WorkerError where the worker has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, as the next line says
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        status = self._process.wait()
        last = [each for each in self.errors.read_text(errors="replace").splitlines() if each]
        raise WorkerError(f"ended with status {status}: {last[-1][:200] if last else 'silent'}")
