"""Time the service: how much of the bare teacher's speed is left for many devices at once.

    python -m bench.serve [--teacher wrn_16_4] [--devices 32] [--images 16] [--json FILE]

The service runs as a process of its own, and so do the devices, each with a token and a connection;
all share this machine's processors. Each device asks what the teacher knows of `--images` images
(logits alone), and asks again when it has the answer.

of the bare teacher   images a second through the service over those of the teacher's forward on
                      full batches in this process, in the fastest of some ways: batches of 16 to
                      128 images, one at a time on all threads or one on each. It keeps freed memory
                      as the service does. Rounds take turns; the median of the rounds' ratios.
                      Beside it the same of processor time, devices included, which holds on a
                      machine with other work
p50, p99              of a request of a device, from its first byte to the last of the answer
memory                resident bytes of the service, during requests of one image each
reply                 bytes of an answer for each of its images

Linux alone: it reads the service's memory and processor time in /proc.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bench.serving.bare import Way, best_way, speed
from bench.serving.case import NAME, SHAPE, Case, check, make_case
from bench.serving.processes import Service
from bench.shared.arguments import positive
from bench.shared.timing import machine
from pyedge.serve.allocator import keep_freed_memory

_MEMORY_PARTS = 10
_REPLIES = (1, 8, 16, 32)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    with TemporaryDirectory() as folder:
        case = make_case(Path(folder), options.teacher, options.devices)
        with Service(case) as service:
            report = measure(case, service, options)
    print(_screen(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure(case: Case, service: Service, options: argparse.Namespace) -> dict[str, Any]:
    """Check the answer, then measure all of it."""
    facts = machine(torch)
    keep_freed_memory()
    replies = {str(count): _reply(case, service, count) for count in _REPLIES}
    requests = max(options.devices, options.round_images // options.images)
    service.asked(requests, options.images)
    way = best_way(case.teacher)
    rounds = [_round(case, service, options.images, requests, way) for _ in range(options.rounds)]
    return {
        "machine": facts,
        "teacher": options.teacher,
        "devices": options.devices,
        "images": options.images,
        "requests_a_round": requests,
        "bare": way.told(),
        "rounds": rounds,
        "of_bare": _median(rounds, "of_bare"),
        "of_bare_busy": _median(rounds, "of_bare_busy"),
        "p50_ms": _median(rounds, "p50_ms"),
        "p99_ms": _median(rounds, "p99_ms"),
        "reply_bytes_an_image": replies,
        "memory": _memory(service, options.requests),
    }


def _round(case: Case, service: Service, images: int, requests: int, way: Way) -> dict[str, Any]:
    count = requests * images
    alone, alone_busy = speed(case.teacher, way, count)
    told = service.asked(requests, images)
    busy = told["busy_seconds"] + told["service_busy_seconds"]
    seconds = told["latencies_s"]
    return {
        "bare_images_s": round(alone, 1),
        "images_s": round(count / told["seconds"], 1),
        "of_bare": round(count / told["seconds"] / alone, 3),
        "of_bare_busy": round(count / busy / alone_busy, 3),
        "devices_busy_share": round(told["busy_seconds"] / busy, 3),
        "p50_ms": round(1e3 * seconds[len(seconds) // 2], 1),
        "p99_ms": round(1e3 * seconds[int(0.99 * (len(seconds) - 1))], 1),
    }


def _reply(case: Case, service: Service, images: int) -> float:
    """Ask once, hold the answer to the teacher's, and return its bytes an image."""
    pixels = np.random.default_rng(images).bytes(images * int(np.prod(SHAPE)))
    connection = http.client.HTTPConnection(service.url.partition("//")[2], timeout=60)
    headers = {"Authorization": f"Bearer {case.tokens[0]}", "Accept-Encoding": "gzip"}
    connection.request("POST", f"/v1/students/{NAME}/knowledge?images={images}", pixels, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"bench: the service answered {answer.status}: {data[:200]!r}")
    check(case.teacher, pixels, gzip.decompress(data))
    return round(len(data) / images, 1)


def _memory(service: Service, requests: int) -> dict[str, Any]:
    """Return the service's resident bytes after each part of many requests of one image."""
    found, seconds = [], list[float]()
    for _ in range(_MEMORY_PARTS):
        told = service.asked(max(1, requests // _MEMORY_PARTS), 1)
        seconds += told["latencies_s"]
        found.append(service.resident_bytes())
    seconds.sort()
    return {
        "requests": len(seconds),
        "resident_bytes": found,
        "last_over_first": round(found[-1] / found[0], 4),
        "p50_ms": round(1e3 * seconds[len(seconds) // 2], 1),
        "p99_ms": round(1e3 * seconds[int(0.99 * (len(seconds) - 1))], 1),
    }


def _median(rounds: list[dict[str, Any]], name: str) -> float:
    return round(statistics.median(each[name] for each in rounds), 3)


def _screen(report: dict[str, Any]) -> str:
    facts, memory = report["machine"], report["memory"]
    bare_s = _median(report["rounds"], "bare_images_s")
    lines = [
        f"{facts['cpu']}, {facts['cpus']} CPUs, torch {facts['torch']}; {report['teacher']}, "
        f"{report['devices']} devices, {report['images']} images a request",
        f"images a second: {_median(report['rounds'], 'images_s'):.0f} through the service, "
        f"{bare_s:.0f} of the bare teacher ({Way(**report['bare'])})",
        f"of the bare teacher: {report['of_bare']:.3f}, of its processor time "
        f"{report['of_bare_busy']:.3f} (medians of {len(report['rounds'])} rounds)",
        f"a request: p50 {report['p50_ms']:.0f} ms, p99 {report['p99_ms']:.0f} ms",
        "a reply, bytes an image: "
        + ", ".join(f"{size:.0f} of {n}" for n, size in report["reply_bytes_an_image"].items()),
        f"memory over {memory['requests']:,} requests of one image: "
        + ", ".join(f"{each / 2**20:.0f}" for each in memory["resident_bytes"])
        + f" MiB, last over first {memory['last_over_first']:.3f}; p50 {memory['p50_ms']:.0f} ms, "
        f"p99 {memory['p99_ms']:.0f} ms",
    ]
    return "\n".join(lines)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--teacher", default="wrn_16_4", help="of pyedge.models (wrn_16_4)")
    parser.add_argument("--devices", type=positive, default=32, help="at once (32)")
    parser.add_argument("--images", type=positive, default=16, help="of a request (16)")
    parser.add_argument("--rounds", type=positive, default=7, help="of service and teacher (7)")
    parser.add_argument("--round-images", type=positive, default=2048, help="of a round (2048)")
    parser.add_argument("--requests", type=positive, default=10_000, help="for memory (10,000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write it all to a file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
