"""Run methods through a protocol: choices on validation images, figures on test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.learning import protocols, students
from bench.learning.features import ids, pixels
from bench.learning.images import load
from bench.learning.method import Entry, Method, Start
from bench.learning.recipes import RECIPES
from pyedge.data import ImageSet
from pyedge.statistics.calibration import calibration_error

FIGURES = (
    *("old", "old_before", "new", "mean", "weighted", "average_incremental", "forgetting"),
    "calibration_error",
    *("seconds", "bytes", "sent_bytes"),
)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What was asked for. per_class: training images a class that the device sees (None: all)."""

    data: str
    protocol: str
    seeds: tuple[int, ...]
    cache: Path
    archive: Path | None
    teacher: Path
    per_class: int | None


@dataclass(frozen=True)
class Run:
    """One seed of a protocol: the student, and the images in the protocol's order."""

    start: Start
    device: ImageSet
    test: ImageSet

    def arriving(self) -> list[tuple[ImageSet, list[int]]]:
        """Return images and ids of the classes of each experience behind the base."""
        places = [list(each) for each in self.start.protocol.places()[1:]]
        return [(self.device.only_classes(each), each) for each in places]


def make_run(asked: Asked, seed: int) -> Run:
    """Load the images, and have the student made if it is not in the cache."""
    original = load(asked.data, asked.archive, asked.cache)
    protocol = protocols.make(asked.protocol, len(original.train.classes), seed)
    parts = protocol.reordered(original)
    made = students.made(asked.data, protocol, parts, asked.cache, asked.teacher)
    device = parts.device(asked.per_class, seed)
    base = device.only_classes(range(protocol.base))
    return Run(Start(made, base, parts.val), device, parts.test)


def taught(method: Method, run: Run, asks: Callable[[int, Method], None]) -> dict[str, Any]:
    """Take a method through all experiences; ask it after each. Returns seconds and bytes.

    seconds: the mean over the experiences of what `experience` took.
    """
    method.start(run.start)
    asks(0, method)
    seconds = []
    for number, (images, classes) in enumerate(run.arriving(), 1):
        method.prepare(images)
        begin = time.perf_counter()
        method.experience(images, classes)
        seconds.append(time.perf_counter() - begin)
        asks(number, method)
    return {
        "seconds": float(np.mean(seconds)),
        "bytes": method.kept_bytes,
        "sent_bytes": method.sent_bytes,
    }


def tested(method: Method, run: Run) -> dict[str, Any]:
    """Return a method's figures on the test images."""
    record = protocols.Record(run.start.protocol, ids(run.test))
    images = pixels(run.test)

    def ask(number: int, method: Method) -> None:
        record.add(method.predict(images[record.asked(number)]))

    told = taught(method, run, ask)
    sure = method.probabilities(images)
    told_sure = sure is not None and bool(np.isfinite(sure).all())  # EWC may diverge
    error = 100 * calibration_error(sure, ids(run.test)) if told_sure else None
    return {**record.figures(), "calibration_error": error, **told}


def validated(method: Method, run: Run) -> float:
    """Return a method's accuracy over all classes of the validation images at the end."""
    last = len(run.start.protocol.experiences) - 1
    found = []

    def ask(number: int, method: Method) -> None:
        if number == last:
            right = method.predict(pixels(run.start.val)) == ids(run.start.val)
            found.append(float(right.mean()))

    taught(method, run, ask)
    return found[0]


def choose(entry: Entry, run: Run) -> Mapping[str, Any]:
    """Return the setting that is best on validation images, the first of equal ones."""
    if len(entry.settings) == 1:
        return entry.settings[0]
    scores = [validated(entry.make(**setting), run) for setting in entry.settings]
    return entry.settings[int(np.argmax(scores))]


def table(asked: Asked, methods: Mapping[str, Entry], say: Say) -> Iterator[dict[str, Any]]:
    """Give a row for each method: means over the seeds, and deviations ("..._deviation")."""
    if not methods:
        return
    runs = [make_run(asked, seed) for seed in asked.seeds]
    unseen = RECIPES[asked.data].unseen
    for name, entry in methods.items():
        if unseen and entry.seen_teacher:
            say(f"{name}: left out, the teacher knows no new class")
            continue
        setting = choose(entry, runs[0])
        found = []
        for run in runs:
            found.append(tested(entry.make(**setting), run))
            now = found[-1]
            say(
                f"{asked.data} {asked.protocol} seed {run.start.seed} {name} {dict(setting)}: "
                f"old {now['old']:.1f} new {now['new']:.1f} weighted {now['weighted']:.1f}"
            )
        row = {"data": asked.data, "protocol": asked.protocol, "method": name}
        yield {**row, **summary(found), "seeds": len(found), "setting": dict(setting)}


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return mean and sample deviation of each figure over the seeds; one seed has no deviation.

    None for what a method does not tell.
    """
    result: dict[str, float | None] = {}
    for name in FIGURES:
        if any(each[name] is None for each in found):
            result[name] = None
            continue
        values = np.array([each[name] for each in found], np.float64)
        digits = 4 if name == "seconds" else 2
        result[name] = round(float(values.mean()), digits)
        if len(values) > 1:
            result[f"{name}_deviation"] = round(float(values.std(ddof=1)), digits)
    return result
