"""Send tasks to the device's process, which has only numpy, and read its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyedge.data import ImageSet
from pyedge.runs.evaluation import Evaluation


@dataclass(frozen=True)
class EdgeLesson:
    """What a student learns from in one call, all as paths of files.

    options are keywords of EdgeLearner.learn. knowledge: the folder of a pack, memory: a file of
    pyedge.Memory, or None.
    """

    images: str
    options: Mapping[str, Any]
    labels: bool = False
    knowledge: str | None = None
    memory: str | None = None


@dataclass(frozen=True)
class EdgeTask:
    """A student, the lessons that it takes on the device one after another, and its test.

    Without lessons the student is tested unchanged.
    """

    student: str
    test: str
    lessons: tuple[EdgeLesson, ...] = ()
    threads: int = 1


def save_images(images: ImageSet, path: Path) -> str:
    """Write images and labels as the device reads them, and return the path."""
    np.savez(path, images=images.images.numpy(), labels=images.labels.numpy())
    return str(path)


def on_device(folder: Path, tasks: Sequence[EdgeTask]) -> list[tuple[Evaluation, dict[str, Any]]]:
    """Do tasks in a process that cannot import torch; return each one's evaluation and more.

    Raises RuntimeError with the process's own message if it fails.
    """
    (folder / "tasks.json").write_text(json.dumps([asdict(task) for task in tasks]))
    done = subprocess.run(
        [sys.executable, "-m", "pyedge.demo.edge_job", str(folder)],
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
        # numpy's own threads, if it has any; and no other encoding than the one that is read here
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
    )
    if done.returncode:
        raise RuntimeError(f"demo: the device's process failed:\n{done.stderr}")
    report = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    if report["without_torch"] is not True:
        raise RuntimeError("demo: the device's process has torch")
    return [
        (Evaluation(np.array(answer.pop("confusion")), answer["loss"]), answer)
        for answer in report["answers"]
    ]
