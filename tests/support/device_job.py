"""What a device does in tests/native/test_two_machines.py, with numpy alone.

One command, one folder:

python device_job.py answer FOLDER    student.pyedge -> answers.npz
python device_job.py learn FOLDER     and learn first, from new.npz and pack; saves the student
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from pyedge import kernels
from pyedge.edge.learner import EdgeLearner

OPTIONS: dict[str, Any] = {"steps": 32, "lr": 0.01, "batch_norm": "frozen", "progress": False}


def main(command: str, folder: Path) -> None:
    """Do one command, and write what came of it."""
    student = folder / "student.pyedge"
    learner = EdgeLearner(student)
    losses: list[float] = []
    if command == "learn":
        with np.load(folder / "new.npz") as data:
            images = data["images"]
        result = learner.learn(images, knowledge=folder / "pack", **OPTIONS)
        losses = [row["loss"] for row in result.history]
        learner.save(student)
    with np.load(folder / "test.npz") as data:
        images, labels = data["images"], data["labels"]
    found = learner.evaluate(images, labels)
    np.savez(
        folder / "answers.npz",
        logits=learner.logits(images),
        confusion=found.confusion,
        losses=losses,
        isa=kernels.isa(),
        torch="torch" in sys.modules,
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
