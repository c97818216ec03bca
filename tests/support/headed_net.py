"""Networks that do something behind their last nn.Linear, for tests of what they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyedge
from pyedge import models
from tests.support.dialects.dialect import settle
from tests.support.tiny_nets import images

CLASSES = 4
After = Callable[["Headed", Tensor], Tensor]


class Headed(nn.Module):
    """A network that does something with what another one answers."""

    def __init__(self, after: After) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = models.wrn(10, num_classes=CLASSES, widths=(8, 12, 16), stem=8)
        self.after = after
        self.bn = nn.BatchNorm1d(CLASSES)
        self.temperature = nn.Parameter(torch.tensor(0.4))
        self.register_buffer("mask", torch.tensor([True, False, False, True]))
        self.register_buffer("prior", torch.log(torch.tensor([0.9, 0.06, 0.03, 0.01])))
        self.register_buffer("order", torch.tensor([2, 0, 3, 1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self, self.net(x))


def network(after: After) -> Headed:
    model = Headed(after)
    settle(model, images(16, seed=1))
    return model.eval()


def student_of(after: After) -> pyedge.cloud.compression.student.Student:
    return pyedge.compress(network(after), 0.6, images(32))


LOGITS: dict[str, After] = {
    "masked_fill": lambda s, z: z.masked_fill(s.mask, -1000.0),
    "masked to minus infinity": lambda s, z: z.masked_fill(s.mask, -torch.inf),
    "masked by a large number": lambda s, z: z * ~s.mask - 9e15 * s.mask,
    "where": lambda s, z: torch.where(s.mask, torch.full_like(z, -7.0), z),
    "logit adjustment": lambda s, z: z - 1.5 * s.prior,
    "a constant": lambda s, z: 3 - z,
    "temperature": lambda s, z: z / 0.05,
    "learned temperature": lambda s, z: z * s.temperature.exp(),
    "per class scale": lambda s, z: torch.mul(z, s.prior.abs()),
    "order by a list": lambda s, z: z[:, [3, 1, 0, 2]],
    "order by a buffer": lambda s, z: z.index_select(1, s.order),
    "order by gather": lambda s, z: z.gather(1, s.order.expand(z.shape[0], -1)),
    "order by a matrix": lambda s, z: z @ torch.eye(CLASSES, device=z.device)[s.order],
    "flip": lambda s, z: torch.flip(z, [1]),
    "fewer classes": lambda s, z: z[:, 1:3],
    "fewer classes, reordered": lambda s, z: z[..., [3, 0, 1]] * 2 + 1,
    "bias correction": lambda s, z: torch.cat([z[:, :2], z[:, 2:] * 0.8 - 0.4], 1),
    "chunks": lambda s, z: torch.cat(z.chunk(2, 1)[::-1], 1),
    "batch norm": lambda s, z: s.bn(z),
    "there and back": lambda s, z: z.unsqueeze(-1).permute(0, 2, 1).squeeze(1).double(),
}
ENDINGS: dict[str, After] = {
    "softmax": lambda s, z: z.softmax(1),
    "softmax module": lambda s, z: nn.Softmax(dim=-1)(z),
    "softmax by hand": lambda s, z: _by_hand(z),
    "softmax of a mask": lambda s, z: z.masked_fill(s.mask, -torch.inf).softmax(1),
    "softmax with temperature": lambda s, z: F.softmax(z / 4, dim=1),
}
LOGARITHMS: dict[str, After] = {
    "log_softmax": lambda s, z: F.log_softmax(z, dim=1),
    "log_softmax of an adjustment": lambda s, z: nn.LogSoftmax(1)(z + s.prior),
    "log of softmax": lambda s, z: z.softmax(1).log(),
    "less logsumexp": lambda s, z: z - z.logsumexp(1, keepdim=True),
}
REFUSED: dict[str, tuple[After, str]] = {
    "sigmoid": (lambda s, z: z.sigmoid(), "operator sigmoid"),
    "soft cap": (lambda s, z: 30 * torch.tanh(z / 30), "operator tanh"),
    "clamp": (lambda s, z: z.clamp(-5, 5), "operator clamp"),
    "matrix": (lambda s, z: z @ (torch.eye(CLASSES) + 0.1), "operator matmul"),
    "centred": (lambda s, z: z - z.mean(1, keepdim=True), "operator mean"),
    "probabilities adjusted": (lambda s, z: z.softmax(1) / s.prior.exp(), "operator softmax"),
    "a class twice": (lambda s, z: z[:, [0, 0, 1, 2]], "logits 0 and 1 both come from output 0"),
    "power": (lambda s, z: z**3, "operator pow"),
}  # fmt: skip


def _by_hand(z: Tensor) -> Tensor:
    e = (z - z.max(dim=1, keepdim=True).values).exp()
    return e / e.sum(1, keepdim=True)


def device_answers(student: nn.Module, folder: Path) -> tuple[np.ndarray, pyedge.EdgeLearner]:
    pyedge.export(student, folder / "s.pyedge")
    learner = pyedge.EdgeLearner(folder / "s.pyedge")
    return learner.logits(images(32).numpy()), learner


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Classes that differ in their mean."""
    found = []
    for i in range(count):
        y = torch.arange(32) % CLASSES
        found.append((0.5 * images(32, seed=i) + (y.float() - 1.5)[:, None, None, None], y))
    return found
