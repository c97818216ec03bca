"""The student in torch with a classifier that grows, and the steps that train it.

The same layers learn as on the engine (the last convolution of each group and the classifier), with
frozen batch norm, the same optimizer and the same start of new rows: what differs between the
strategies is their losses and what they keep.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from bench.learning.students import Made
from pyedge.data import Augment, standardise
from pyedge.data.augment import standardise_array

_PREDICT_BATCH = 256


class GrowingStudent(nn.Module):
    """body: images -> features; head: features -> logits, a row for each class that has come."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        student = made.torch_student()
        whole = student.get_submodule(student.classifier)
        assert isinstance(whole, nn.Linear)
        classes = made.protocol.base
        self.head = _linear(whole.weight[:classes], whole.bias[:classes])
        student.set_submodule(student.classifier, nn.Identity())
        self.body: nn.Module = student
        self.requires_grad_(False)
        for name in student.last_convs:
            student.get_submodule(name).requires_grad_(True)
        self.head.requires_grad_(True)
        self.eval()  # batch norm's running statistics

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def grow(self, classes: int) -> None:
        """Have a row for each of `classes` classes; a new one begins with the mean of the old."""
        weight, bias = self.head.weight.data, self.head.bias.data
        more = classes - len(bias)
        if more > 0:
            rows = torch.cat([weight, weight.mean(0, keepdim=True).expand(more, -1)])
            self.head = _linear(rows, torch.cat([bias, bias.mean().expand(more)]))

    def learning(self) -> dict[str, nn.Parameter]:
        """Return what learns, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def frozen_copy(self) -> GrowingStudent:
        """Return the student as it is now, for distillation."""
        return copy.deepcopy(self).requires_grad_(False)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the features of images uint8, float32 [n, f]."""
        return torch.cat([self.body(standardise(x)) for x in images.split(_PREDICT_BATCH)])

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of images uint8."""
        return self.head(self.features(images))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], len(bias))
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def draw(labels: Tensor, batch: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of batches for ever: epochs in random order, whole batches."""
    n, waiting = len(labels), np.empty(0, np.int64)
    while True:
        while len(waiting) < batch:
            waiting = np.concatenate([waiting, random.permutation(n)])
        yield waiting[:batch]
        waiting = waiting[batch:]


def distorted(images: Tensor, augment: Augment, random: np.random.Generator) -> Tensor:
    """Standardise images uint8 and distort each, as pyedge.data's loader does."""
    x = standardise_array(images.numpy())
    n, _, h, w = x.shape
    return torch.from_numpy(augment.apply(x, augment.draw(n, h, w, random)))


def train_steps(
    net: GrowingStudent, steps: int, lr: float, loss: Callable[[], Tensor]
) -> list[float]:
    """Do steps with what LearnOptions has by default (SGD, cosine schedule); return the losses.

    loss: draws a batch and computes its loss.
    """
    search = torch.optim.SGD(
        net.learning().values(), lr, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(search, steps)
    found = []
    for _ in range(steps):
        search.zero_grad()
        value = loss()
        value.backward()
        search.step()
        falling.step()
        found.append(float(value.detach()))
    return found
