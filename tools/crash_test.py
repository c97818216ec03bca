"""Kill a learning process at random moments, resume it, and compare the bits of what comes out.

    python tools/crash_test.py --kills 200

A process learns on the device's side (no torch), with checkpoints, and saves the student over
itself. It is killed with SIGKILL, again and again, at moments drawn at random; every other kill
waits until a file is being written. In the end the student's file must have the bits of a run that
nobody disturbed. Exit code 0 if all do, 1 if one does not.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKPOINT, STUDENT, IMAGES, PACK = "run.checkpoint", "student.pyedge", "images.npz", "pack"
OPTIONS: dict[str, Any] = {
    "steps": 90,
    "batch_size": 32,
    "lr": 0.05,
    "trainable": "all",
    "batch_norm": "batch",
    "eval_every": 15,
    "checkpoint_every": 3,
    "val": 0.2,
    "progress": False,
}


@dataclass
class Tally:
    """What happened: kills, those among them that fell into the writing of a file, whole runs."""

    kills: int = 0
    in_writes: int = 0
    runs: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


def learn(folder: Path) -> None:
    """Do what a device does: learn with checkpoints, save, and forget the checkpoint."""
    import numpy as np

    from pyedge.edge.learner import EdgeLearner

    with np.load(folder / IMAGES) as data:
        images, labels = data["images"], data["labels"]
    learner = EdgeLearner(folder / STUDENT, threads=1)
    taught = any(entry["command"] == "learn" for entry in learner.student.record)
    if taught and not (folder / CHECKPOINT).exists():
        return  # it was killed when everything was done
    if "new" not in learner.classes:
        learner.add_classes(["new"])
    pack = folder / PACK
    learner.learn(
        images,
        labels,
        knowledge=pack if pack.exists() else None,
        lambdas=(0.0, 10.0, 1.0),  # the teacher does not know the new class
        checkpoint=folder / CHECKPOINT,
        resume=True,
        **OPTIONS,
    )
    learner.save(folder / STUDENT)
    (folder / CHECKPOINT).unlink()
    assert "torch" not in sys.modules


def prepare(folder: Path) -> None:
    """Make a small student of digits, images for it, and what its teacher knows of them."""
    import numpy as np
    import torch

    import pyedge
    from pyedge.cloud.exporting.export import export
    from pyedge.cloud.make_knowledge import make_knowledge
    from pyedge.data import BatchLoader, load_dataset
    from pyedge.models import create

    torch.set_num_threads(1)
    torch.manual_seed(0)
    train, _, _ = load_dataset("digits")
    loader = BatchLoader(train, 64)
    teacher = create("wrn", num_classes=10, in_channels=1, depth=10, widths=(8, 12, 16), stem=8)
    pyedge.train(teacher, loader, epochs=1, progress=False)
    student = pyedge.compress(teacher, 0.6, loader)
    export(student, folder / STUDENT, classes=train.classes)
    images = train.images[:320].numpy()
    np.savez(folder / IMAGES, images=images, labels=train.labels[:320].numpy())
    make_knowledge(folder / STUDENT, teacher, images, folder / PACK, progress=False)


def crash(prepared: Path, kills: int, seed: int, say: Any = print) -> Tally:
    """Kill `kills` times, and compare every run that gets to its end with an undisturbed one."""
    draw, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="pyedge-crash-") as scratch:
        whole = Path(scratch) / "whole"
        shutil.copytree(prepared, whole)
        began = time.monotonic()
        assert _start(whole).wait() == 0, "the undisturbed run failed"
        seconds = time.monotonic() - began
        expected = (whole / STUDENT).read_bytes()
        say(f"an undisturbed run takes {seconds:.1f} s")
        while tally.kills < kills:
            folder = Path(scratch) / f"run-{tally.runs}"
            shutil.copytree(prepared, folder)
            failure = _one_run(folder, kills, seconds, draw, tally)
            if failure is None and (folder / STUDENT).read_bytes() != expected:
                failure = f"other bits: {_differences(whole / STUDENT, folder / STUDENT)}"
            if failure is None and _partial(folder):
                failure = f"left behind: {_partial(folder)}"
            tally.runs += 1
            if failure is not None:
                tally.failures.append(f"run {tally.runs}: {failure}")
            say(f"{tally.kills} kills, {tally.runs} runs, {len(tally.failures)} failures")
            shutil.rmtree(folder)
    return tally


def _one_run(
    folder: Path, kills: int, seconds: float, draw: random.Random, tally: Tally
) -> str | None:
    """Kill a run until it gets to its end; return what was wrong, or None."""
    from pyedge.edge.checkpoint import read_checkpoint
    from pyedge.student.archive import read_student

    while True:
        process = _start(folder)
        if tally.kills >= kills:
            code = process.wait()
        else:
            code = _kill(process, folder, seconds, draw, tally)
        if code is None:
            read_student(folder / STUDENT)  # raises for a file that is not whole
            if (folder / CHECKPOINT).exists():
                read_checkpoint(folder / CHECKPOINT)
            continue
        return None if code == 0 else f"a resumed process ended with {code}"


def _differences(expected: Path, found: Path) -> str:
    """Name some members of two student files that differ."""
    with zipfile.ZipFile(expected) as one, zipfile.ZipFile(found) as other:
        names = {*one.namelist()} ^ {*other.namelist()}
        both = {*one.namelist()} & {*other.namelist()}
        names |= {name for name in both if one.read(name) != other.read(name)}
    return ", ".join(sorted(names)[:4]) + f" ({len(names)} of {len(names | both)} members)"


def _kill(
    process: subprocess.Popen[bytes],
    folder: Path,
    seconds: float,
    draw: random.Random,
    tally: Tally,
) -> int | None:
    """Kill at a random moment; None where that came in time, else the process's own exit code."""
    deadline = time.monotonic() + draw.uniform(0.0, 0.8 * seconds)
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    if tally.kills % 2:  # wait for a file that is being written; a write takes some milliseconds
        while process.poll() is None and not _partial(folder):
            time.sleep(0.0002)
        time.sleep(draw.uniform(0.0, 0.004))
    process.send_signal(signal.SIGKILL)
    code = process.wait()
    if code != -signal.SIGKILL:
        return code
    tally.kills += 1
    tally.in_writes += bool(_partial(folder))
    for file in folder.glob(f".{STUDENT}.*"):  # the learner removes those of its checkpoint
        file.unlink()
    return None


def _partial(folder: Path) -> list[Path]:
    """Files that are being written, or that a killed process has left half-written."""
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def _start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--learn", str(folder)])


def main() -> int:
    """Run the test, print its count, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments (default 0)")
    parser.add_argument("--learn", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.learn is not None:
        learn(args.learn)
        return 0
    with tempfile.TemporaryDirectory(prefix="pyedge-crash-") as scratch:
        prepare(Path(scratch))
        tally = crash(Path(scratch), args.kills, args.seed, lambda text: print(text, flush=True))
    for failure in tally.failures:
        print(failure)
    print(
        f"{tally.kills} kills at random moments, {tally.in_writes} of them while a file was being "
        f"written; {tally.runs} runs resumed to their end, {tally.runs - len(tally.failures)} to "
        f"identical bits, {len(tally.failures)} failures"
    )
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
