"""Avalanche's strategies on the same student in torch; formulas in `bench.learning.torch_formulas`.

They see the new images with labels, and of the base images what each keeps by its own rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bench.learning import torch_formulas as formulas
from bench.learning.features import ids
from bench.learning.images import at_most
from bench.learning.method import Ids, Method, Pixels, Start, image_bytes, joined, softmax
from bench.learning.torch_net import GrowingStudent, distorted, draw, train_steps
from pyedge.data import Augment, ImageSet, standardise

BATCH = 64
_FISHER_BATCHES = 32


class Naive(Method):
    """Fine-tune on the new images' labels; the others differ in `batch_loss`."""

    def __init__(self, *, steps: int = 64, lr: float = 0.01) -> None:
        self._steps, self._lr = steps, lr

    def start(self, start: Start) -> None:
        self._augment = Augment(**start.recipe.augment)
        self._random = np.random.default_rng(start.seed)
        self.net = GrowingStudent(start.made)
        self.known = start.protocol.base
        self.seed = start.seed
        self.remember(start.base, range(self.known))

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        before = self.net.frozen_copy()
        self.net.grow(max(classes) + 1)
        images = self.seen_together(images)
        rows = draw(images.labels, BATCH, self._random)

        def loss() -> Tensor:
            chosen = next(rows)
            x, y = self.distorted(images, chosen)
            return self.batch_loss(x, y, before)

        train_steps(self.net, self._steps, self._lr, loss)
        self.known = max(classes) + 1
        self.remember(images, classes)

    def predict(self, images: Pixels) -> Ids:
        return self.net.logits(torch.from_numpy(images)).argmax(1).numpy()

    def probabilities(self, images: Pixels) -> NDArray[np.float64] | None:
        return softmax(self.net.logits(torch.from_numpy(images)).numpy())

    @property
    def kept_bytes(self) -> int:
        return 0

    def remember(self, images: ImageSet, classes: Sequence[int]) -> None:
        """Keep what the strategy keeps of classes that have been learned."""

    def seen_together(self, images: ImageSet) -> ImageSet:
        """Return what the batches of an experience are drawn from."""
        return images

    def batch_loss(self, x: Tensor, y: Tensor, before: GrowingStudent) -> Tensor:
        """The loss of a batch; `before`: the student as it was before the experience."""
        return F.cross_entropy(self.net(x), y)

    def distorted(self, images: ImageSet, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return some images as they are learned from, and their labels."""
        x = distorted(images.images[rows], self._augment, self._random)
        return x, images.labels[rows]


class WithoutForgetting(Naive):
    """LwF: the student that was answers for the old classes, from the new images."""

    def __init__(self, *, alpha: float, steps: int = 64, lr: float = 0.01) -> None:
        super().__init__(steps=steps, lr=lr)
        self._alpha = alpha

    def batch_loss(self, x: Tensor, y: Tensor, before: GrowingStudent) -> Tensor:
        with torch.no_grad():
            then = before(x)
        logits = self.net(x)
        return F.cross_entropy(logits, y) + self._alpha * formulas.distillation(logits, then)


class Consolidation(Naive):
    """EWC: weights that mattered stay; one penalty for each experience ("separate")."""

    def __init__(self, *, weight: float, steps: int = 64, lr: float = 0.01) -> None:
        super().__init__(steps=steps, lr=lr)
        self._weight = weight
        self._kept: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def remember(self, images: ImageSet, classes: Sequence[int]) -> None:
        learning = self.net.learning()
        rows = np.random.default_rng(self.seed).permutation(len(images))
        parts = np.array_split(rows[: _FISHER_BATCHES * BATCH], _FISHER_BATCHES)
        losses = (
            F.cross_entropy(self.net(standardise(images.images[part])), images.labels[part])
            for part in parts
            if len(part)
        )
        found = formulas.importances(learning, losses)
        self._kept.append(({name: p.detach().clone() for name, p in learning.items()}, found))

    def batch_loss(self, x: Tensor, y: Tensor, before: GrowingStudent) -> Tensor:
        loss, learning = super().batch_loss(x, y, before), self.net.learning()
        for then, weights in self._kept:
            loss = loss + self._weight * formulas.ewc_penalty(learning, then, weights)
        return loss

    @property
    def kept_bytes(self) -> int:
        return sum(4 * t.numel() for pair in self._kept for part in pair for t in part.values())


class Replay(Naive):
    """Experience replay: `per_class` random images of each class; half of each batch is of them."""

    def __init__(self, *, per_class: int, steps: int = 100, lr: float = 0.01) -> None:
        super().__init__(steps=steps, lr=lr)
        self._per_class = per_class
        self._memory: list[ImageSet] = []

    def remember(self, images: ImageSet, classes: Sequence[int]) -> None:
        self._memory.append(at_most(images, self._per_class, self.seed))
        self._kept = joined(self._memory)
        self._rows = draw(self._kept.labels, BATCH, self._random)

    def batch_loss(self, x: Tensor, y: Tensor, before: GrowingStudent) -> Tensor:
        old_x, old_y = self.distorted(self._kept, next(self._rows))
        return F.cross_entropy(self.net(torch.cat([x, old_x])), torch.cat([y, old_y]))

    @property
    def kept_bytes(self) -> int:
        return image_bytes(self._kept)


class ICaRL(Naive):
    """Exemplars by herding, distilled sigmoids, and the nearest mean of exemplars as classifier.

    Prototypes are means over exemplars and their mirror images, where the data may be mirrored.
    """

    def __init__(self, *, per_class: int, steps: int = 100, lr: float = 0.01) -> None:
        super().__init__(steps=steps, lr=lr)
        self._per_class = per_class
        self._memory: dict[int, ImageSet] = {}

    def start(self, start: Start) -> None:
        self._mirrored = bool(start.recipe.augment["flip"])
        super().start(start)

    def seen_together(self, images: ImageSet) -> ImageSet:
        return joined([images, *self._memory.values()])

    def batch_loss(self, x: Tensor, y: Tensor, before: GrowingStudent) -> Tensor:
        with torch.no_grad():
            then = before(x)
        return formulas.icarl_loss(self.net(x), y, then)

    def remember(self, images: ImageSet, classes: Sequence[int]) -> None:
        for label in classes:
            own = images.only_classes([label])
            features = self.net.features(own.images).numpy()
            self._memory[label] = own.subset(formulas.herding(features, self._per_class))
        means = []
        for label in sorted(self._memory):
            own = self._memory[label]
            views = [own.images, own.images.flip(3)] if self._mirrored else [own.images]
            means.append(formulas.unit_mean([self.net.features(view) for view in views]))
        self._means = torch.stack(means)

    def predict(self, images: Pixels) -> Ids:
        # the nearest of unit vectors is the one with the largest product
        features = F.normalize(self.net.features(torch.from_numpy(images)), dim=1)
        return (features @ self._means.T).argmax(1).numpy()

    def probabilities(self, images: Pixels) -> None:
        return None  # the nearest mean, not the logits, is its answer

    @property
    def kept_bytes(self) -> int:
        means = 4 * self._means.numel()
        return means + sum(image_bytes(each) for each in self._memory.values())


class StreamingLDA(Method):
    """Deep streaming LDA on the frozen features."""

    def start(self, start: Start) -> None:
        self._net = GrowingStudent(start.made)
        x = self._net.features(start.base.images).numpy().astype(np.float64)
        self._model = formulas.StreamingDiscriminant(x.shape[1])
        self._model.fit_base(x, ids(start.base), start.protocol.base)

    def experience(self, images: ImageSet, classes: Sequence[int]) -> None:
        self._model.grow(max(classes) + 1)
        x = self._net.features(images.images).numpy().astype(np.float64)
        for row, label in zip(x, ids(images).tolist(), strict=True):
            self._model.add(row, label)

    def predict(self, images: Pixels) -> Ids:
        x = self._net.features(torch.from_numpy(images)).numpy()
        return self._model.scores(x).argmax(1).astype(np.int64)

    @property
    def kept_bytes(self) -> int:
        return self._model.nbytes
