"""RILOD's distillation (Li et al. 2019, "RILOD: near real-time incremental learning for object
detection at the edge"), for classification.

The network as it was before the new class answers beside the one that learns, and no other teacher:
L = L_new + l1 * mean (Y_old - Y)^2 over the old classes' answers + l2 * smooth L1 of the features.
A detector has a loss of bounding boxes besides, which a classifier has not; the features are those
that the classifier reads (a detector's are its pyramid's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.learning.method import Start
from bench.learning.torch_methods import Naive
from bench.learning.torch_net import GrowingStudent
from bench.paper.split_network import split_classifier


def rilod_loss(
    logits: Tensor,
    labels: Tensor,
    then: Tensor,
    features: Tensor,
    features_then: Tensor,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Return the loss of a batch: logits [n, classes], `then` [n, old], features [n, f]."""
    answers = (logits[:, : then.shape[1]] - then).square().mean()
    kept = F.smooth_l1_loss(features, features_then)
    return F.cross_entropy(logits, labels) + weights[0] * answers + weights[1] * kept


class Rilod(Naive):
    """RILOD on the student: the layers that learn on a device, frozen batch norm."""

    def __init__(self, *, weight: float = 1.0, steps: int = 64, lr: float = 0.01) -> None:
        super().__init__(steps=steps, lr=lr)
        self._weights = (weight, weight)

    def batch_loss(self, x: Tensor, y: Tensor, before: GrowingStudent) -> Tensor:
        with torch.no_grad():
            features_then = before.body(x)
            then = before.head(features_then)
        features = self.net.body(x)
        return rilod_loss(self.net.head(features), y, then, features, features_then, self._weights)


class WholeNetwork(GrowingStudent):
    """A whole network that knows the base classes alone; all of it learns."""

    def __init__(self, network: nn.Module) -> None:
        nn.Module.__init__(self)
        self.body, self.head = split_classifier(network)
        self.requires_grad_(True)
        self.eval()


class RilodWhole(Rilod):
    """RILOD on the uncompressed network, as its authors run it.

    find: returns that network, trained on the base classes of a start.
    """

    def __init__(self, find: Callable[[Start], nn.Module], **settings: Any) -> None:
        super().__init__(**settings)
        self._find = find

    def start(self, start: Start) -> None:
        super().start(start)
        self.net = WholeNetwork(self._find(start))
