"""What a service's process holds: files, threads, memory; and whether it ever failed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.raw_http import ask

_SETTLES_SECONDS = 40.0


class Vitals(NamedTuple):
    """Of one moment. files: that are open, without those of SQLite, which keeps some for later."""

    files: int
    database_files: int
    threads: int
    resident_bytes: int


def vitals(pid: int) -> Vitals:
    """Read what a process holds (Linux)."""
    state = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    told = dict(line.split(":\t", 1) for line in state.splitlines() if ":\t" in line)
    resident = int(told["VmRSS"].split()[0]) * 1024
    names = [_name(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    database = sum("store.db" in name for name in names)
    return Vitals(len(names) - database, database, int(told["Threads"]), resident)


def _name(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except FileNotFoundError:  # closed meanwhile
        return ""


def running(url: str, watcher: str) -> int:
    """Return how many requests run, besides the one that asks. watcher: a token."""
    status, _, text = ask(url, "GET", "/metrics", watcher)
    assert status == 200, text
    lines = text.decode().splitlines()
    return (
        int(float(next(x for x in lines if x.startswith("pyedge_requests_running ")).split()[1]))
        - 1
    )


def settled(pid: int, url: str, watcher: str, files: int) -> Vitals:
    """Wait until no request runs and no more than `files` are open; return what is held then.

    Fails if that does not come: a stuck worker, or a leak.
    """
    deadline = time.monotonic() + _SETTLES_SECONDS
    while True:
        left, now = running(url, watcher), vitals(pid)
        if not left and now.files <= files:
            return now
        assert time.monotonic() < deadline, f"{left} requests run, {now.files} files are open"
        time.sleep(0.1)


def failures(log: Path) -> list[str]:
    """Return the events of a log that no request may cause: traces, and answers of status 500."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line]
    return [
        json.dumps(each)
        for each in lines
        if "trace" in each or each.get("status") == 500 or each["event"] == "failed"
    ]
