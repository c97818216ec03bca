"""Profile: how much of each filter's activation map is zero, in each image (Eq. 1, 2).

Filters of weak activations can go (Sec. 3). Where an activation makes no exact zeros, what is close
to zero is counted instead.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn
from torch.utils.data import DataLoader, Dataset

from pyedge.cloud.feed.batch import Source, images_of, split
from pyedge.cloud.feed.loaders import Feed, check_loader
from pyedge.cloud.graph import nodes
from pyedge.cloud.graph.nodes import shape_of
from pyedge.cloud.zeros import near_zero_count, zero_count
from pyedge.errors import StructureError

# with it SiLU has as many zeros as ReLU, so that P means the same: bench.near_zero
NEAR_ZERO = 0.05

BATCH = 128  # images that are measured at a time, of those that come one by one

Images = torch.Tensor | Dataset | Iterable[Any]


class Counted(NamedTuple):
    """Zero counts of a layer's maps in a batch: images, histogram int64 [z], sums int64 [filters].

    sums: of the zeros of each filter's maps, over the images.
    """

    images: int
    histogram: torch.Tensor
    sums: torch.Tensor

    @classmethod
    def of(cls, counts: torch.Tensor, map_size: int) -> Counted:
        """Sum the counts of a batch, int [n, filters]."""
        counts = counts.to("cpu", torch.int64)
        histogram = torch.bincount(counts.flatten(), minlength=map_size + 1)
        return cls(len(counts), histogram, counts.sum(0))


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

    def look(self, maps: torch.Tensor) -> Counted:
        """Count zeros, or what is close to zero, in the maps of a batch, n filters h w."""
        if self.near_zero is not None and self.images == 0:
            self.largest = float(maps.abs().max())
        return Counted.of(self.count(maps), self.map_size)

    def count(self, maps: torch.Tensor) -> torch.Tensor:
        """Count zeros, or what is close to zero, in each map: n filters h w to int n filters."""
        if self.near_zero is None:
            return zero_count(maps)
        return near_zero_count(maps, self.near_zero * self.largest)

    def add(self, counted: Counted) -> None:
        """Add the zero counts of a batch."""
        self.images += counted.images
        self.histogram += counted.histogram
        self.zero_sum += counted.sums / self.map_size

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
    rest: Callable[[Mapping[str, ConvProfile]], Iterable[Mapping[str, Counted]]] | None = None,
) -> Profile:
    """Count the zeros that the network's activations make of each convolution's maps, in eval mode.

    A convolution's activation is the next one downstream. In a pre-activation block that is the
    block's second ReLU for the first convolution, and for the second one the next block's, on the
    sum. Of a ReLU exact zeros count, of SiLU and its kin what is close to zero (see ConvProfile).
    rest: gives the counts of other images, batch by batch, once those of `images` are known.
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
        node.name: ConvProfile(
            shape_of(node)[1],
            math.prod(shape_of(node)[2:]),
            near_zero=near_zero if nodes.is_weak_activation(node) else None,
        )
        for node in seeing
    }
    counter = ZeroCounter(traced, traced.graph, records)
    total = 0
    for each in itertools.chain(
        (counter.count(batch) for batch in images), () if rest is None else _after(rest, records)
    ):
        for name, counted in each.items():
            records[name].add(counted)
        total += next(iter(each.values())).images
    if total == 0:
        raise ValueError("plan: images: wanted at least one, got none")
    measured = {conv: records[node.name] for conv, node in seen_by.items() if node is not None}
    unseen = tuple(conv for conv, node in seen_by.items() if node is None)
    return Profile(measured, unseen, total, noise)


def _after(
    rest: Callable[[Mapping[str, ConvProfile]], Iterable[Mapping[str, Counted]]],
    records: Mapping[str, ConvProfile],
) -> Iterator[Mapping[str, Counted]]:
    """Ask for the rest when the first counts are in the records, and not before."""
    yield from rest(records)


class ZeroCounter(fx.Interpreter):
    """Run a network, and count the zeros at the nodes of some names. records: what they are."""

    def __init__(
        self, module: nn.Module, graph: fx.Graph, records: Mapping[str, ConvProfile]
    ) -> None:
        super().__init__(module, graph=graph)
        self.records = records
        self._counted: dict[str, Counted] = {}

    @torch.no_grad()
    def count(self, batch: torch.Tensor) -> Mapping[str, Counted]:
        """Return the counts of a batch, by the nodes' names."""
        self._counted = {}
        self.run(batch)
        assert self._counted.keys() == self.records.keys()
        return self._counted

    def run_node(self, node: fx.Node) -> Any:
        """Run a node, and look at what it gives."""
        value = super().run_node(node)
        record = self.records.get(node.name)
        if record is not None:
            size = math.prod(value.shape[2:])
            if size != record.map_size:
                raise ValueError(
                    f"plan: images: wanted the size of the first, maps of {record.map_size} "
                    f"elements at {node.name}, got maps of {size}"
                )
            self._counted[node.name] = record.look(value)
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
    images: Images, limit: int | None, device: torch.device, batch_size: int = BATCH
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
