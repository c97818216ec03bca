"""Profile: how much of each filter's activation map is zero, in each image (Eq. 1, 2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.utils.data import DataLoader, Dataset

from pyedge.cloud.feed.batch import Source, images_of, split
from pyedge.cloud.feed.loaders import Feed, check_loader
from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.nodes import shape_of
from pyedge.cloud.zeros import zero_count
from pyedge.errors import StructureError

Images = torch.Tensor | Dataset | Iterable[Any]


@dataclass
class ConvProfile:
    """Zero counts of one convolution's activation maps, over images.

    histogram[z] is the number of (image, filter) pairs whose map has z zeros, so the count of
    prunable filters is known exactly for every threshold. zero_sum[f] sums, over images, the
    zero fraction of filter f.
    """

    filters: int
    map_size: int
    images: int = 0
    histogram: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    zero_sum: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    def __post_init__(self) -> None:
        if not self.histogram.numel():
            self.histogram = torch.zeros(self.map_size + 1, dtype=torch.int64)
            self.zero_sum = torch.zeros(self.filters, dtype=torch.float64)

    def add(self, counts: torch.Tensor) -> None:
        """Add the zero counts of a batch, int n filters."""
        counts = counts.to("cpu", torch.int64)
        self.images += len(counts)
        self.histogram += torch.bincount(counts.flatten(), minlength=self.map_size + 1)
        self.zero_sum += counts.sum(0) / self.map_size

    @property
    def zero_fraction(self) -> torch.Tensor:
        """Mean zero fraction of each filter, float64 [filters]."""
        return self.zero_sum / max(1, self.images)

    def prunable(self, P: float) -> float:
        """Mean over images of the number of filters with zero fraction >= P (avgc in Sec. 3)."""
        # the smallest count z with z / map_size >= P, in the same floating point as the quotient
        threshold = max(0, math.floor(P * self.map_size) - 1)
        while threshold / self.map_size < P:
            threshold += 1
        return int(self.histogram[threshold:].sum()) / max(1, self.images)


@dataclass
class Profile:
    """One pass over M images: zero counts of each convolution that a ReLU follows.

    unseen: convolutions whose output reaches no ReLU; they cannot be measured and keep their
    width. noise: True when no images were given.
    """

    convs: dict[str, ConvProfile]
    unseen: tuple[str, ...]
    images: int
    noise: bool


def measure(
    traced: fx.GraphModule, convs: list[str], images: Iterator[torch.Tensor], noise: bool = False
) -> Profile:
    """Count the zeros that the network's ReLUs make of each convolution's maps, in eval mode.

    A convolution's ReLU is the next one downstream. In a pre-activation block that is the block's
    second ReLU for the first convolution, and for the second one the next block's, on the sum.
    Raises StructureError when no convolution has one.
    """
    seen_by = {conv: relu_after(traced, conv) for conv in convs}
    relus = {relu for relu in seen_by.values() if relu is not None}
    if not relus:
        found = _activation_after(traced, convs[0])
        raise StructureError(
            f"no ReLU sees any of the convolutions that stay: {convs[0]} is followed by {found}, "
            "which makes no exact zeros, so there is nothing to count"
        )
    records = {
        relu: ConvProfile(shape_of(relu)[1], math.prod(shape_of(relu)[2:])) for relu in relus
    }
    counter = _ZeroCounter(traced, records)
    total = 0
    with torch.no_grad():
        for batch in images:
            counter.run(batch)
            total += len(batch)
    if total == 0:
        raise ValueError("plan: images: wanted at least one, got none")
    measured = {conv: records[relu] for conv, relu in seen_by.items() if relu is not None}
    unseen = tuple(conv for conv, relu in seen_by.items() if relu is None)
    return Profile(measured, unseen, total, noise)


class _ZeroCounter(fx.Interpreter):
    def __init__(self, traced: fx.GraphModule, records: dict[fx.Node, ConvProfile]) -> None:
        super().__init__(traced)
        self.records = records

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        record = self.records.get(node)
        if record is not None:
            size = math.prod(value.shape[2:])
            if size != record.map_size:
                raise ValueError(
                    f"plan: images must all have the size of the first, got maps of {size} "
                    f"elements at {node.name}, wanted {record.map_size}"
                )
            record.add(zero_count(value))
        return value


def relu_after(traced: fx.GraphModule, conv: str) -> fx.Node | None:
    """Return the first ReLU that the convolution's maps reach, channel by channel, or None."""
    start = next(node for node in traced.graph.nodes if node.target == conv)
    reached = {start}
    for node in traced.graph.nodes:  # execution order
        if node in reached or not any(source in reached for source in node.all_input_nodes):
            continue
        if nodes.is_relu(node):
            return node
        if _keeps_channels(node):
            reached.add(node)
    return None


def _keeps_channels(node: fx.Node) -> bool:
    return (
        nodes.is_channel_norm(node)
        or nodes.is_add(node)
        or nodes.is_scale(node)
        or nodes.is_gating(node)
        or nodes.is_content_free(node)
        or nodes.is_pool(node)
    )


def _activation_after(traced: fx.GraphModule, conv: str) -> str:
    """Name the activation in the place of a ReLU, for the error message."""
    reached = {next(node for node in traced.graph.nodes if node.target == conv)}
    for node in traced.graph.nodes:
        if node in reached or not any(source in reached for source in node.all_input_nodes):
            continue
        if not _keeps_channels(node):
            module = nodes.module_of(node)
            if module is not None:
                return type(module).__name__
            return str(getattr(node.target, "__name__", node.target))
        reached.add(node)
    return "nothing"


def image_batches(
    images: Images, limit: int | None, device: torch.device, batch_size: int = 128
) -> Iterator[torch.Tensor]:
    """Yield float batches n c h w from a batch, a Dataset, a DataLoader or any iterable.

    Items may be anything that `feed.batch` takes; labels are not touched. At most `limit` images
    are yielded.
    """
    where = Source("plan", "images")
    if isinstance(images, np.ndarray):
        images = images_of(images, where)
    if isinstance(images, torch.Tensor):
        source: Iterable[Any] = images.split(batch_size) if images.dim() == 4 else [images]
    elif isinstance(images, Dataset) and not isinstance(images, torch.utils.data.IterableDataset):
        source = DataLoader(images, batch_size)
    else:
        check_loader(images, where)
        source = images
    left = math.inf if limit is None else limit
    for item in Feed(source, where):
        batch = images_of(split(item, where, labels=False)[0], where)
        batch = batch[: int(min(left, len(batch)))]
        left -= len(batch)
        if len(batch):
            yield batch.to(device, torch.float32)
        if left <= 0:
            return
