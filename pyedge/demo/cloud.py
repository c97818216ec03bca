"""The cloud's demonstration: a service, and three devices that learn from each other.

    python -m pyedge.demo.cloud [FOLDER]

A teacher learns seven digits; a student of it goes to the service. Each device, a process that
cannot import torch, learns one of the other digits from its own images, and gives it away twice:
as a category file, and as sums for everybody's classifier.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import pyedge
from pyedge.data import BatchLoader, ImageSet, class_incremental, load_dataset
from pyedge.models import create

_NAME = "digits"
_NEW = ("7", "8", "9")
_STAGES = {
    "alone": "after its own images",
    "categories": "with the others' categories",
    "together": "everybody's classifier",
}


def main(folder: Path) -> None:
    """Run the demonstration and print its table. Raises RuntimeError if a device fails."""
    began = time.monotonic()
    old, test, new = _student(folder)
    print(f"a student of {len(old)} digits after {time.monotonic() - began:.0f} s", flush=True)
    _save(test, folder / "test.npz")
    command = [sys.executable, "-c", "import sys; from pyedge.cli import main; sys.exit(main())"]
    serve = [*command, "serve", "--store", str(folder / "store"), "--json", "--quiet"]

    def done(*words: str) -> Any:
        more = [*command, "serve", *words, "--store", str(folder / "store"), "--json", "--quiet"]
        return json.loads(subprocess.run(more, check=True, capture_output=True, text=True).stdout)

    done("student", "add", str(folder / "student.pyedge"), "--name", _NAME)
    tokens = [done("token", "add", "--device", f"device {d}")["token"] for d in _NEW]
    with (
        (folder / "service.log").open("wb") as log,
        subprocess.Popen(
            [*serve, "--port", "0"], stdout=subprocess.PIPE, stderr=log, text=True
        ) as service,
    ):
        try:
            assert service.stdout is not None
            url = json.loads(service.stdout.readline())["url"]
            print(f"the service listens at {url}", flush=True)
            answers = _devices(folder, url, tokens, new)
        finally:
            service.terminate()
    _print(old, answers)
    print(f"{time.monotonic() - began:.0f} s in all")


def _student(folder: Path) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """Train a teacher on the old digits, and write a student with statistics of them."""
    torch.manual_seed(0)
    train, val, test = load_dataset("digits")
    old, new = class_incremental(train, [int(d) for d in _NEW])
    held, _ = class_incremental(val, [int(d) for d in _NEW])
    names = tuple(name for name in train.classes if name not in _NEW)
    old, held = (ImageSet(each.images, each.labels, list(names)) for each in (old, held))
    teacher = create("wrn_16_1", num_classes=len(names), in_channels=1)
    pyedge.train(teacher, BatchLoader(old, 64), epochs=6, progress=False)
    student = pyedge.compress(teacher, 0.9, BatchLoader(old, 64))
    pyedge.transfer(student, teacher, BatchLoader(old, 64), epochs=3, progress=False)
    pyedge.export(
        student, folder / "student.pyedge", classes=list(names), statistics=old, held=held
    )
    return names, test, new


def _devices(folder: Path, url: str, tokens: list[str], new: ImageSet) -> dict[str, dict[str, Any]]:
    """Run a process for each new digit, all at once, and return what each tells."""
    running = {}
    for name, token in zip(_NEW, tokens, strict=True):
        place = folder / f"device-{name}"
        place.mkdir()
        np.savez(place / "images.npz", images=new.images[new.labels == int(name)].numpy())
        others = ",".join(each for each in _NEW if each != name)
        running[name] = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pyedge.demo.cloud_device",
                str(place),
                url,
                _NAME,
                name,
                others,
            ],
            env={**os.environ, "PYEDGE_TOKEN": token, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    answers = {}
    for name, process in running.items():
        out, error = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the device that learns {name} failed:\n{error}")
        answers[name] = json.loads(out)
    return answers


def _save(images: ImageSet, path: Path) -> None:
    labels = np.array(images.classes)[images.labels.numpy()]
    np.savez(path, images=images.images.numpy(), labels=labels)


def _print(old: tuple[str, ...], answers: dict[str, dict[str, Any]]) -> None:
    """Print accuracies on held-out images: of the old digits together, and of each new one."""
    print("\nAccuracy on held-out images, per cent\n")
    heads = "".join(f"{name:>7}" for name in _NEW)
    print(f"device  {'':<28}{'0 to 6':>8}{heads}{'all':>7}")
    for device, told in answers.items():
        for stage, what in _STAGES.items():
            shares = told[stage]
            mean = np.mean([shares[name] for name in old])
            row = "".join(f"{100 * shares[name]:7.1f}" for name in _NEW)
            everything = 100 * np.mean(list(shares.values()))
            print(f"{device:>6}  {what:<28}{100 * mean:8.1f}{row}{everything:7.1f}")
    sizes = ", ".join(f"{told['bytes']:,}" for told in answers.values())
    states = ", ".join(told["state"] for told in answers.values())
    print(f"\ncategory files of {sizes} bytes; contributions: {states}")


if __name__ == "__main__":
    if sys.argv[1:]:
        Path(sys.argv[1]).mkdir(parents=True)
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as temporary:
            main(Path(temporary))
