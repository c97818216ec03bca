"""A fleet of devices in one process: threads that ask for knowledge of images over plain HTTP.

    python -m bench.serving.fleet PORT PATH BYTES_OF_IMAGE TOKEN...

It runs what it is told on standard input, one JSON object a line: {"requests": in all, "images": of
each}; and answers with one line of seconds, latencies and sizes. The standard library alone: what a
client costs is taken from the service, which has the same processors.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
import threading
import time
from typing import Any

_TIMEOUT_S = 120


class Device(threading.Thread):
    """One device: it asks, reads the answer, and asks again while there is something to ask."""

    def __init__(self, fleet: Fleet, token: str, images: int) -> None:
        super().__init__(daemon=True)
        self._fleet = fleet
        self._token = token
        self._images = images
        self.latencies: list[float] = []
        self.reply = 0
        self.fault = ""

    def run(self) -> None:
        """Ask until the fleet has asked enough."""
        fleet = self._fleet
        body = random.Random(self._token).randbytes(self._images * fleet.image_bytes)
        headers = {"Authorization": f"Bearer {self._token}", "Accept-Encoding": "gzip"}
        path = f"{fleet.path}?images={self._images}"
        connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=_TIMEOUT_S)
        try:
            while fleet.take():
                began = time.perf_counter()
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
                self.latencies.append(time.perf_counter() - began)
                self.reply = len(data)
                if answer.status != 200:
                    raise OSError(f"status {answer.status}: {data[:200]!r}")
        except (OSError, http.client.HTTPException) as error:
            self.fault = f"{type(error).__name__}: {error}"
        finally:
            connection.close()


class Fleet:
    """Devices that share a number of requests."""

    def __init__(self, port: int, path: str, image_bytes: int, tokens: list[str]) -> None:
        self.port = port
        self.path = path
        self.image_bytes = image_bytes
        self._tokens = tokens
        self._lock = threading.Lock()
        self._left = 0

    def take(self) -> bool:
        """Take one of the requests that are left."""
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def run(self, requests: int, images: int) -> dict[str, Any]:
        """Make requests, and return how long each took."""
        self._left = requests
        devices = [Device(self, token, images) for token in self._tokens]
        began, busy = time.perf_counter(), time.process_time()
        for each in devices:
            each.start()
        for each in devices:
            each.join()
        faults = [each.fault for each in devices if each.fault]
        return {
            "seconds": time.perf_counter() - began,
            "busy_seconds": time.process_time() - busy,
            "latencies_s": sorted(s for each in devices for s in each.latencies),
            "reply_bytes": max(each.reply for each in devices),
            "faults": faults,
        }


def main() -> None:
    """Do what standard input says."""
    port, path, size, *tokens = sys.argv[1:]
    fleet = Fleet(int(port), path, int(size), tokens)
    for line in sys.stdin:
        print(json.dumps(fleet.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
