"""The service and the fleet as processes, and what the service's process costs (Linux)."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.serving.case import NAME, SHAPE, Case

_MAIN = "import sys; from pyedge.cli import main; sys.exit(main())"
_WAIT_S = 60


class Service:
    """`pyedge serve` on a free port of this machine, with the devices that ask it."""

    def __init__(self, case: Case) -> None:
        words = ["serve", "--store", str(case.store), "--port", "0", "--json"]
        words += ["--requests-per-minute", "10M"]
        self._process = _started([sys.executable, "-c", _MAIN, *words])
        self.url: str = json.loads(_line(self._process))["url"]
        port = self.url.rpartition(":")[2]
        path, size = f"/v1/students/{NAME}/knowledge", str(math.prod(SHAPE))
        self._fleet = _started(
            [sys.executable, "-m", "bench.serving.fleet", port, path, size, *case.tokens]
        )

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in (self._fleet, self._process):
            each.terminate()
            each.communicate(timeout=_WAIT_S)

    def asked(self, requests: int, images: int) -> dict[str, Any]:
        """Have the devices make requests; return what they measured and what it cost."""
        before = self.busy_seconds()
        assert self._fleet.stdin is not None
        self._fleet.stdin.write(json.dumps({"requests": requests, "images": images}) + "\n")
        self._fleet.stdin.flush()
        told: dict[str, Any] = json.loads(_line(self._fleet))
        if told["faults"]:
            raise SystemExit(f"bench: devices got no answer: {told['faults'][0]}")
        told["service_busy_seconds"] = self.busy_seconds() - before
        return told

    def busy_seconds(self) -> float:
        """Processor time of the service so far."""
        text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Memory of the service that is in RAM."""
        text = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii")
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"bench: a process ended before it answered: {process.args}")
    return line
