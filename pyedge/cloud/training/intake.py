"""A batch on its way into the network: split, checked, moved to the device."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pyedge.cloud.feed.batch import Source, images_of, labels_of, split
from pyedge.cloud.training.evaluate import count_classes
from pyedge.cloud.weights.checks import like_weights


class Intake:
    """Take batches for one network and one objective, with or without labels.

    The network's classes are counted at the first batch with labels.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        source: Source,
        *,
        labels: bool,
        layout: torch.memory_format,
    ) -> None:
        self._fabric = fabric
        self._model = model
        self._source = source
        self._labels = labels
        self._layout = layout
        self._classes: int | None = None

    def take(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """Return images n c h w and labels [n] on the device; no labels if none are wanted.

        Images may hold NaN: the loss will show it. Raises TypeError and ValueError for any other
        batch that the network cannot learn from.
        """
        device = self._fabric.device
        given, told = split(batch, self._source, labels=self._labels)
        x = images_of(given, self._source, finite=False)
        if x.is_inference():
            x = x.clone()  # autograd takes none that was made under torch.inference_mode()
        if not len(x):
            raise ValueError(f"{self._source} yields a batch without images")
        y = None
        if self._labels:
            y = labels_of(told, len(x), self._source, self._known(x))
            y = y.clone() if y.is_inference() else y
            y = y.to(device, non_blocking=True)
        x = x.to(device, non_blocking=True, memory_format=self._layout)
        return like_weights(x, self._model), y

    def _known(self, x: Tensor) -> int:
        if self._classes is None:
            with self._fabric.autocast():
                self._classes = count_classes(self._model, x, self._source, self._fabric.device)
        return self._classes
