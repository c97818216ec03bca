"""One device of the cloud's demonstration: numpy alone, one folder, one new category.

    python -m pyedge.demo.cloud_device FOLDER URL STUDENT CATEGORY OTHERS

The token is in the environment. It prints what it knows after each stage, as one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import pyedge

_WAIT_SECONDS = 60
_LOOK_SECONDS = 0.2


def main(folder: Path, url: str, student: str, name: str, others: list[str]) -> dict[str, Any]:
    """Learn a category, give it away, take those of others; return accuracies by class."""
    with np.load(folder / "images.npz") as data:
        images = data["images"]
    with np.load(folder.parent / "test.npz") as data:
        test, labels = data["images"], data["labels"]
    cloud = pyedge.Cloud(url, folder=folder / "cloud")
    learner = pyedge.EdgeLearner(cloud.download(student))
    learner.add_classes([name])
    learner.learn(images, [name] * len(images))
    told: dict[str, Any] = {"alone": _shares(learner, test, labels)}
    sent = cloud.contribute(learner)
    assert sent is not None
    told["state"] = sent.state
    pyedge.make_category(learner, images, name, folder / "own.category", detail="low_rank")
    cloud.offer(folder / "own.category", student)
    for other in others:
        _wait_for(lambda other=other: any(c.name == other for c in cloud.categories(student)))
        learner.add_category(cloud.category(other, student))
    told["categories"] = _shares(learner, test, labels)
    count = len(others) + 1
    _wait_for(lambda: any(s.contributions >= count for s in cloud.students()))
    together = pyedge.EdgeLearner(cloud.download(student))
    told["together"] = _shares(together, test, labels)
    told["bytes"] = (folder / "own.category").stat().st_size
    return told


def _shares(learner: pyedge.EdgeLearner, images: Any, labels: Any) -> dict[str, float]:
    """Return the share of each class's images that is right; 0 for one that is not known."""
    classes = np.array(learner.classes)
    found = classes[learner.predict(images).ids]
    return {
        str(name): float((found == labels)[labels == name].mean()) for name in np.unique(labels)
    }


def _wait_for(there: Any) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while not there():
        if time.monotonic() > end:
            raise TimeoutError(f"the other devices are not there after {_WAIT_SECONDS} s")
        time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment]  # whatever would load it fails
    place, address, served, own, rest = sys.argv[1:]
    print(json.dumps(main(Path(place), address, served, own, rest.split(","))))
