"""The device's part of the demonstration: a program that cannot import torch.

    python -m pyedge.demo.edge_job FOLDER

reads FOLDER/tasks.json, lets a student learn for each task, and writes FOLDER/answers.json.
"""

from __future__ import annotations

import sys

# None in their place makes any import of them fail, as on a device where they are not installed
NEVER = ("torch", "torch_pruning", "lightning_fabric", "torchmetrics", "sklearn", "PIL")
for _name in NEVER if __name__ == "__main__" else ():
    sys.modules[_name] = None  # type: ignore[assignment]

import json  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from pyedge.edge.learner import EdgeLearner  # noqa: E402


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Let a student take the lessons of a task, if any, and evaluate it."""
    learner = EdgeLearner(task["student"], threads=task["threads"])
    answer: dict[str, Any] = {}
    for lesson in task["lessons"]:
        with np.load(lesson["images"]) as data:
            images, labels = data["images"], data["labels"]
        result = learner.learn(
            images,
            labels if lesson["labels"] else None,
            knowledge=lesson["knowledge"],
            memory=lesson["memory"],
            **lesson["options"],
        )
        if result.steps:
            rows = result.history
            answer.update(first_loss=rows[0]["loss"], last_loss=rows[-1]["loss"])
        answer["seconds"] = answer.get("seconds", 0.0) + result.seconds
        answer["memory_bytes"] = learner.memory_bytes(result.batch_size)
    with np.load(task["test"]) as data:
        found = learner.evaluate(data["images"], data["labels"])
    return {**answer, "confusion": found.confusion.tolist(), "loss": found.loss}


def without_torch() -> bool:
    """Try to import torch, and tell whether that failed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return not any(
            name.partition(".")[0] == "torch" and sys.modules[name] for name in sys.modules
        )
    return False


def main(folder: Path) -> int:
    """Do every task of a folder."""
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    if not without_torch():
        print(
            "edge_job: wanted a Python without torch, got one that can import it", file=sys.stderr
        )
        return 1
    answers = [work(task) for task in tasks]
    report = {"without_torch": without_torch(), "answers": answers}
    (folder / "answers.json").write_text(json.dumps(report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
