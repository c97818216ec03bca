"""Counting zeros of many images: the network goes to many processes, counts come back.

Counts are whole numbers, and are added batch after batch in the order of the images, so that a
profile has the same bits as one process's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn
from torch.utils.data import Dataset, IterableDataset, Subset

from pyedge.arguments import kind_of
from pyedge.cloud.compression.profile import (
    BATCH,
    ConvProfile,
    Counted,
    Images,
    ZeroCounter,
    image_batches,
)
from pyedge.cloud.jobs.spread import spread
from pyedge.data.batch_loader import BatchLoader
from pyedge.images.edge_images import EdgeImages
from pyedge.images.preprocessing import Preprocessing

_HEAD_BATCHES = 2  # counted by the process that plans, which keeps these images to calibrate with


class SharedCount:
    """Images of a plan: the first ones for the process that plans, the others for workers.

    images: a Dataset, whose images the workers read, or a BatchLoader that does not augment. At
    most `limit`. Raises TypeError for other images, and ValueError for none.
    """

    def __init__(self, images: Images | None, limit: int | None, workers: int) -> None:
        self._images = _by_place(images)
        self._workers = workers
        count = len(self._images)  # type: ignore[arg-type]
        every = np.arange(count if limit is None else min(count, limit))
        self._rows = [every[start : start + BATCH] for start in range(0, len(every), BATCH)]

    def head(self, device: torch.device) -> Iterator[torch.Tensor]:
        """Yield the first batches."""
        for rows in self._rows[:_HEAD_BATCHES]:
            yield _batch(self._images, rows, device)

    def rest(
        self, traced: fx.GraphModule, device: torch.device, records: Mapping[str, ConvProfile]
    ) -> Iterator[Mapping[str, Counted]]:
        """Yield the counts of the other batches. records: of the first ones."""
        rows = self._rows[_HEAD_BATCHES:]
        if not rows:
            return iter(())
        work = _Counting(_Parts.of(traced), dict(records), self._images, device)
        return spread(work, rows, self._workers, "plan", gpus=int(device.type == "cuda"))


class _Node(NamedTuple):
    """A node of a graph; in args and kwargs, a `_Name` stands for another node."""

    op: str
    name: str
    target: Any
    args: Any
    kwargs: Any


class _Name(str):
    """The name of a node."""


class _Parts(NamedTuple):
    """A traced network in parts that can be sent; pickled as it is, it would be traced anew."""

    root: nn.Module
    nodes: list[_Node]

    @classmethod
    def of(cls, traced: fx.GraphModule) -> _Parts:
        """Take a network apart; its weights are shared."""
        root = nn.Module()
        for kind in ("_modules", "_parameters", "_buffers"):
            getattr(root, kind).update(getattr(traced, kind))

        def named(given: Any) -> Any:
            return fx.node.map_arg(given, lambda node: _Name(node.name))

        return cls(
            root.eval(),
            [
                _Node(node.op, node.name, node.target, named(node.args), named(node.kwargs))
                for node in traced.graph.nodes
            ],
        )

    def graph(self) -> fx.Graph:
        """Return the graph."""
        graph, made = fx.Graph(), dict[str, fx.Node]()

        def found(given: Any) -> Any:
            return fx.node.map_aggregate(
                given, lambda each: made[each] if isinstance(each, _Name) else each
            )

        for op, name, target, args, kwargs in self.nodes:
            made[name] = graph.create_node(op, target, found(args), found(kwargs), name)
        return graph


class _Counting:
    """The work of counting zeros."""

    def __init__(
        self,
        parts: _Parts,
        records: dict[str, ConvProfile],
        images: Dataset[Any],
        device: torch.device,
    ) -> None:
        self.parts, self.records, self.images, self.device = parts, records, images, device

    @cached_property
    def counter(self) -> ZeroCounter:
        """Make what runs the network, where the work is done."""
        return ZeroCounter(self.parts.root, self.parts.graph(), self.records)

    def do(self, rows: np.ndarray) -> Mapping[str, Counted]:
        """Return the counts of a batch."""
        return self.counter.count(_batch(self.images, rows, self.device))


class _Preprocessed(Dataset):
    """Images of an ImageSet in a loader's order, as it preprocesses them."""

    def __init__(self, images: EdgeImages, order: np.ndarray, preprocessing: Preprocessing) -> None:
        self._images, self._order, self._preprocessing = images, order, preprocessing

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> torch.Tensor:
        row = self._order[place]
        return torch.from_numpy(self._preprocessing.apply(self._images.array[row : row + 1])[0])


def _by_place(images: Any) -> Dataset[Any]:
    """Return images as a Dataset, from which a worker can take those at some places."""
    if isinstance(images, BatchLoader):
        if images.augment is not None or images.world > 1:
            raise TypeError(
                "plan: images: wanted for workers a BatchLoader that neither augments nor is "
                "sharded, got one that does"
            )
        pixels = EdgeImages(images.dataset.images.numpy(), channels_last=False)
        return _Preprocessed(pixels, images.order(), images.preprocessing)
    if isinstance(images, Dataset) and not isinstance(images, IterableDataset):
        return images
    raise TypeError(
        "plan: images: wanted for workers a Dataset, of which each reads its part, or a "
        f"BatchLoader, got {kind_of(images)}"
    )


def _batch(images: Dataset[Any], rows: np.ndarray, device: torch.device) -> torch.Tensor:
    (found,) = image_batches(Subset(images, rows.tolist()), None, device)
    return found
