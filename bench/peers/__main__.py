"""Time the same step and the same inference on other engines, each in an environment of its own.

    python -m bench.peers --install
    python -m bench.peers [--student resnet1] [--batch 128] [--threads 2] [--rounds 5]
                          [--peer NAME ...] [--json FILE] [--markdown FILE]
    python -m bench.peers --from FILE ... --markdown FILE

--install makes build/peers/NAME for each peer, at pinned versions: some GB. Without it only pyedge
and torch take part, which stand in the project's own environment.

The step is labels alone: the forward pass, the mean cross entropy, the gradients of the last
convolution of each group and the classifier, plain SGD; batch norm frozen. Plain, since that is
what all of them have. Each network is given with its frozen batch norms folded, as torch at its
best has it; MNN and onnxruntime get it as ONNX, LiteRT and ExecuTorch as torch exports it.

Whoever takes part is checked first: logits, and the losses of four steps, against float64. Then
they take turns, each in its process: a rest, an untimed call, a timed one; medians are told. Memory
is the largest resident size of the whole process during a call, interpreter and libraries included.
Installed bytes are those of the distribution and of all that it requires, as its metadata have it.
Linux alone: memory is read in /proc.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.peers.make_task import Right, write
from bench.peers.peers import PEERS, Peer, facts, install
from bench.peers.process import Worker, WorkerError
from bench.peers.table import markdown, text
from bench.peers.workers.task import KINDS
from bench.shared.arguments import positive
from bench.shared.students import WIDTHS
from bench.shared.timing import machine

ENVIRONMENTS = Path("build/peers")
_REST_S = 0.02
# of logits in norm, and of each loss; bfloat16 keeps 8 bits
_TOLERANCE = {"float32": 1e-4, "low": 3e-2}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    args = _parser().parse_args(arguments)
    peers = [each for each in PEERS if not args.peer or each.name in args.peer]
    if args.install:
        return _install(peers)
    found = (
        [json.loads(path.read_text()) for path in args.read] if args.read else [_run(peers, args)]
    )
    if args.json:
        args.json.write_text(json.dumps(found[0], indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(markdown(found))
    print("\n\n".join(text(each) for each in found))
    return 0


def _install(peers: list[Peer]) -> int:
    for peer in peers:
        if peer.requires:
            print(f"{peer.name}: {install(peer, ENVIRONMENTS) or 'installed'}", flush=True)
    return 0


def _run(peers: list[Peer], args: argparse.Namespace) -> dict[str, Any]:
    environments = ENVIRONMENTS.resolve()
    rows = []
    for peer in peers:
        row = {"name": peer.name}
        if peer.python(environments).exists():
            try:
                row.update(facts(peer, environments))
            except subprocess.CalledProcessError:  # an environment without the peer
                why = install(peer, environments) or "its environment was not finished"
                row["absent"] = f"does not install: {why}"
        else:
            row["absent"] = "not installed here (--install)"
        rows += [{**row, "peer": peer.name, "name": peer.label(each), "variant": each}
                 for each in peer.variants]  # fmt: skip
    by_name = {peer.name: peer for peer in peers}
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        for kind in KINDS:
            there = [row for row in rows if "absent" not in row]
            _contest(kind, there, by_name, args, Path(folder))
    return {
        "machine": machine(torch),
        "student": args.student,
        "batch": args.batch,
        "threads": args.threads,
        "rounds": args.rounds,
        "rows": rows,
    }


def _contest(
    kind: str,
    rows: list[dict[str, Any]],
    peers: dict[str, Peer],
    args: argparse.Namespace,
    folder: Path,
) -> None:
    """Check, time and measure all rows' workers at one kind of work; figures go into the rows."""
    tasks: dict[int, Right] = {}
    with ExitStack() as stack:
        workers = []
        for row in rows:
            peer = peers[row["peer"]]
            batch = (kind == "step" and peer.step_batch) or args.batch
            place = folder / str(batch)
            if batch not in tasks:
                place.mkdir(exist_ok=True)
                tasks[batch] = write(place, args.student, batch)
            python = peer.python(ENVIRONMENTS.resolve())
            print(f"{kind}: {row['name']}", file=sys.stderr, flush=True)
            try:
                worker = Worker(python, peer.worker, row["variant"], kind, place, args.threads)
                stack.callback(worker.close)
                _check(worker, kind, row, tasks[batch])
            except WorkerError as error:
                row[f"{kind}_unable"] = str(error)
                continue
            row[f"{kind}_batch"] = batch
            workers.append((row, worker))
        for row, worker in workers:
            row[f"{kind}_memory"] = worker.ask("peak")["bytes"]
        times: dict[str, list[float]] = {row["name"]: [] for row, _ in workers}
        for _ in range(args.rounds):
            for row, worker in workers:
                time.sleep(_REST_S)
                times[row["name"]].append(worker.ask("time")["ms"])
        for row, _ in workers:
            scale = args.batch / row[f"{kind}_batch"]
            row[f"{kind}_ms"] = round(scale * statistics.median(times[row["name"]]), 3)


def _check(worker: Worker, kind: str, row: dict[str, Any], right: Right) -> None:
    """Raise WorkerError for a wrong answer: a figure of it would say nothing."""
    found = worker.ask("answer")
    if kind == "step":
        pairs = zip(found["losses"], right.losses, strict=True)
        # over the first: one image's loss falls to almost nothing
        off = max(abs(came - wanted) for came, wanted in pairs) / right.losses[0]
    else:
        logits = np.load(found["logits"])
        off = float(np.linalg.norm(logits - right.logits) / np.linalg.norm(right.logits))
    low = row["variant"] in ("half", "compiled, bf16")
    if not (math.isfinite(off) and off < _TOLERANCE["low" if low else "float32"]):
        raise WorkerError(f"answers wrongly, by {off:.2g}")
    row[f"{kind}_off"] = float(f"{off:.2g}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--install", action="store_true", help="make the peers' environments")
    parser.add_argument(
        "--peer", action="append", choices=[each.name for each in PEERS], help="default: all"
    )
    parser.add_argument("--student", choices=tuple(WIDTHS), default="resnet1")
    parser.add_argument("--batch", type=positive, default=128, help="images in a call (128)")
    parser.add_argument("--threads", type=positive, default=2, help="for each (2)")
    parser.add_argument("--rounds", type=positive, default=5, help="timed calls of each (5)")
    parser.add_argument("--json", type=Path, help="write what was measured")
    parser.add_argument("--markdown", type=Path, help="write it as a page")
    parser.add_argument("--from", dest="read", type=Path, nargs="+", help="render written files")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
