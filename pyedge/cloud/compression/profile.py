"""Profile: how much of each filter's activation map is zero, in each image (Eq. 1, 2).

Filters of weak activations can go (Sec. 3). Where an activation makes no exact zeros, what is close
to zero is counted instead.
"""

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
from pyedge.cloud.zeros import near_zero_count, zero_count
from pyedge.errors import StructureError

# with it SiLU has as many zeros as ReLU, so that P means the same: bench.near_zero
NEAR_ZERO = 0.05

Images = torch.Tensor | Dataset | Iterable[Any]


@dataclass
class ConvProfile:
    """Zero counts of one convolution's activation maps, over images.

    histogram[z] is the number of (image, filter) pairs whose map has z zeros, so the count of
    prunable filters is known exactly for every threshold. zero_sum[f] sums, over images, the
    zero fraction of filter f. near_zero: None where exact zeros are counted; where the activation
    has none, values count whose size is at most this fraction of the largest one.

    The largest is that of all filters of the layer, on the first batch. Of all filters: an idle
    filter is small beside the others, while beside itself it would never be. On the first batch:
    so that one pass is enough, and the answer does not depend on how many images follow.
    """

    filters: int
    map_size: int
    images: int = 0
    histogram: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    zero_sum: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    near_zero: float | None = None
    largest: float = 0.0

    def __post_init__(self) -> None:
        if not self.histogram.numel():
            self.histogram = torch.zeros(self.map_size + 1, dtype=torch.int64)
            self.zero_sum = torch.zeros(self.filters, dtype=torch.float64)

    def look(self, maps: torch.Tensor) -> None:
        """Count the zeros in the maps of a batch, n filters h w, and add them."""
        if self.near_zero is not None and self.images == 0:
            self.largest = float(maps.abs().max())
        self.add(self.count(maps))

    def count(self, maps: torch.Tensor) -> torch.Tensor:
        """Count zeros, or what is close to zero, in each map: n filters h w to int n filters."""
        if self.near_zero is None:
            return zero_count(maps)
        return near_zero_count(maps, self.near_zero * self.largest)

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
    """One pass over M images: zero counts of each convolution that an activation follows.

    unseen: convolutions whose output reaches no activation that goes to zero; they cannot be
    measured and keep their width. noise: True when no images were given.
    """

    convs: dict[str, ConvProfile]
    unseen: tuple[str, ...]
    images: int
    noise: bool

    @property
    def near_zero(self) -> float | None:
        """The fraction at which values count as close to zero; None if all zeros are exact."""
        fractions = (conv.near_zero for conv in self.convs.values())
        return next((each for each in fractions if each is not None), None)


def measure(
    traced: fx.GraphModule,
    convs: list[str],
    images: Iterator[torch.Tensor],
    noise: bool = False,
    near_zero: float = NEAR_ZERO,
) -> Profile:
    """Count the zeros that the network's activations make of each convolution's maps, in eval mode.

    A convolution's activation is the next one downstream. In a pre-activation block that is the
    block's second ReLU for the first convolution, and for the second one the next block's, on the
    sum. Of a ReLU exact zeros count, of SiLU and its kin what is close to zero (see ConvProfile).
    Raises StructureError when no convolution has an activation of these.
    """
    seen_by = {conv: activation_after(traced, conv) for conv in convs}
    seeing = {node for node in seen_by.values() if node is not None}
    if not seeing:
        found = _what_follows(traced, convs[0])
        raise StructureError(
            f"no ReLU sees any of the convolutions that stay: {convs[0]} is followed by {found}, "
            "which makes no exact zeros and does not go to zero either (as SiLU, GELU and "
            "LeakyReLU do), so there is nothing to count"
        )
    records = {
        node: ConvProfile(
            shape_of(node)[1],
            math.prod(shape_of(node)[2:]),
            near_zero=near_zero if nodes.is_weak_activation(node) else None,
        )
        for node in seeing
    }
    counter = _ZeroCounter(traced, records)
    total = 0
    with torch.no_grad():
        for batch in images:
            counter.run(batch)
            total += len(batch)
    if total == 0:
        raise ValueError("plan: images: wanted at least one, got none")
    measured = {conv: records[node] for conv, node in seen_by.items() if node is not None}
    unseen = tuple(conv for conv, node in seen_by.items() if node is None)
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
                    f"plan: images: wanted the size of the first, maps of {record.map_size} "
                    f"elements at {node.name}, got maps of {size}"
                )
            record.look(value)
        return value


def activation_after(traced: fx.GraphModule, conv: str) -> fx.Node | None:
    """Return the first activation that the convolution's maps reach, channel by channel, or None.

    It is one that goes to zero: a ReLU, or SiLU and its kin.
    """
    start = next(node for node in traced.graph.nodes if node.target == conv)
    reached = {start}
    for node in traced.graph.nodes:  # execution order
        if node in reached or not any(source in reached for source in node.all_input_nodes):
            continue
        if nodes.is_activation(node):
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


def _what_follows(traced: fx.GraphModule, conv: str) -> str:
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
