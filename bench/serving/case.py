"""What the service is timed with: a teacher, a student of it, and a store that has both."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pyedge
from pyedge import models
from pyedge.cloud.network_file import NetworkInfo, save_network
from pyedge.serve.store import Store
from pyedge.serve.students import add_student
from pyedge.serve.tokens import add_token

NAME = "student"
SHAPE = (3, 32, 32)
_CLASSES = tuple(f"class {i}" for i in range(10))
# of the logits: another batch size takes other convolutions, which round otherwise
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Case:
    """teacher: in this process, to be timed without a service. tokens: one for each device."""

    teacher: nn.Module
    store: Path
    tokens: list[str]


def make_case(folder: Path, teacher: str, devices: int) -> Case:
    """Make a store whose student has this teacher, of random weights."""
    torch.manual_seed(0)
    model = models.create(teacher, num_classes=len(_CLASSES)).eval()
    info = NetworkInfo(
        builder=teacher,
        options={"num_classes": len(_CLASSES)},
        classes=_CLASSES,
        input_shape=SHAPE,
    )
    save_network(folder / "teacher.pt", model, info)
    random = np.random.default_rng(0)
    labels = np.arange(100) % len(_CLASSES)
    described = random.integers(0, 256, (100, *SHAPE)).astype(np.uint8)
    student = pyedge.compress(model, 0.9, torch.rand(16, *SHAPE))
    pyedge.export(student, folder / "plain.pyedge", classes=list(_CLASSES), preprocessing="none")
    pyedge.write_student(
        pyedge.add_statistics(folder / "plain.pyedge", described, labels, expand=None),
        folder / "student.pyedge",
    )
    store = Store(folder / "store")
    add_student(store, folder / "student.pyedge", NAME, str(folder / "teacher.pt"))
    tokens = [add_token(store.database, f"device {i}") for i in range(devices)]
    store.close()
    return Case(model, folder / "store", tokens)


@torch.inference_mode()
def bare(teacher: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """Return the teacher's logits for uint8 pixels, without a service."""
    logits: np.ndarray = teacher(torch.from_numpy(pixels).float().div(255)).numpy()
    return logits


def check(teacher: nn.Module, pixels: bytes, reply: bytes) -> None:
    """Stop the benchmark unless a reply holds the teacher's logits."""
    images = np.frombuffer(pixels, np.uint8).reshape(-1, *SHAPE).copy()
    with tarfile.open(fileobj=io.BytesIO(reply), mode="r:*") as archive:
        member = archive.extractfile("logits.npy")
        assert member is not None
        came = np.load(io.BytesIO(member.read()))
    apart = float(np.abs(came - bare(teacher, images)).max())
    if not apart <= _TOLERANCE:
        raise SystemExit(f"bench: the service's logits are wrong by {apart:.2g}")
