"""Services that start in a tenth of the time: forks of a process that has imported everything.

200 starts of Python would be most of what a run of 200 kills does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_NURSERY = """
import json, os, signal, sys
import pyedge.serve.opening, pyedge.serve.running, pyedge.cli.serve
from pyedge.cli import main
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need no burial
for line in sys.stdin:
    words, log = json.loads(line)
    if not os.fork():
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
        os._exit(main(words))
"""


class Nursery:
    """Starts services; an argument of `Shop` in the place of `Process`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, store: Path, port: int = 0, *options: str, log: Path) -> Forked:
        """Start `pyedge serve`."""
        words = ["serve", "--store", str(store), "--port", str(port), "--json", *options]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([words, str(log)]) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Forked(told["url"], told["pid"])

    def close(self) -> None:
        """End it; its services are the caller's."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Forked:
    """A service's process."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        while True:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.002)
