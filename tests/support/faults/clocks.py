"""Clocks that disagree: the service's is hours or days from the device's, or jumps."""

from __future__ import annotations

import os
from pathlib import Path

from pyedge.edge.learner import EdgeLearner
from pyedge.remote.cloud import Cloud
from tests.support.cloud_service import NAME, Process, columns

HOUR = 3600.0
SKEWS = (-400 * 24 * HOUR, -24 * HOUR, -HOUR, HOUR, 25 * HOUR, 400 * 24 * HOUR)
_CODE = "import time; real = time.time; time.time = lambda: real() + {skew}"


def skewed(store: Path, skew: float, log: Path) -> Process:
    """Start a service whose clock is some seconds ahead, of its files' times as well."""
    return Process(store, 0, before=_CODE.format(skew=skew), log=log)


def exchange(process: Process, token: str, folder: Path, seed: int) -> str:
    """Have a device learn, contribute and download; return the digest that counted.

    The upload is half there already, from a time before the clock jumped.
    """
    cloud = Cloud(process.url, token=token, folder=folder, tries=3, timeout=20)
    learner = EdgeLearner(cloud.download(NAME))
    learner.learn(columns(5, seed % 6, seed), ["low"] * 5)
    offline = Cloud("http://127.0.0.1:9", token=token, folder=folder, tries=1)
    waiting = offline.contribute(learner)
    assert waiting is not None
    body = folder / "outbox" / f"{waiting.digest}.body"
    size = body.stat().st_size
    cloud._connection.json(
        "PATCH",
        f"/v1/uploads/{waiting.digest}",
        headers={"Upload-Offset": "0", "Upload-Length": str(size)},
        body=body.read_bytes()[: size // 2],
    )
    (sent,) = cloud.flush()
    assert sent.state == "counted", sent
    assert cloud.download(NAME).stat().st_size > 0
    return sent.digest


def set_back(folder: Path, seconds: float) -> None:
    """Make a folder's files older (or, below 0, of the future)."""
    for path in folder.rglob("*"):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))
