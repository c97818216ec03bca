"""Batches for training: shuffled, preprocessed, augmented, made ahead by one thread."""

from __future__ import annotations

import copy
import queue
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pyedge.arguments import whole
from pyedge.data.augment import Augment
from pyedge.data.imageset import ImageSet
from pyedge.images.preprocessing import Preprocessing, PreprocessingLike

Batch = tuple[Tensor, Tensor]


class BatchLoader:
    """Iterate over (float32 [b, c, h, w], int64 [b]): preprocessed, augmented batches.

    Order and augmentation depend on `seed` and the epoch (`set_epoch`, 0 at first) alone: each
    pass of one epoch gives the same batches. `preprocessing` is what the network takes: "image"
    (each image standardised, the paper's Sec. 5), "none" (pixels over 255), "imagenet", "cifar10",
    or a Preprocessing or dict with mean and deviation of each channel, which may also resize images
    that have not the network's size, and make them grey or RGB. Images are augmented after it, so
    that padding and cutout hold the mean (with "none" they are black). What is trained or planned
    with the loader remembers it, for `save_network` and `export`. `channels_last` gives that memory
    format. `prefetch` batches are made ahead by a thread (0: made when asked for).

    Raises TypeError for another dataset than an ImageSet, ValueError for a batch_size below 1, an
    empty dataset, no batch at all under `drop_last`, or a preprocessing of other channels.
    """

    def __init__(
        self,
        dataset: ImageSet,
        batch_size: int,
        *,
        shuffle: bool = True,
        augment: Augment | None = None,
        seed: int = 0,
        drop_last: bool = False,
        channels_last: bool = False,
        prefetch: int = 2,
        preprocessing: PreprocessingLike = "image",
    ) -> None:
        if not isinstance(dataset, ImageSet):
            raise TypeError(f"BatchLoader: wanted an ImageSet, got {type(dataset).__name__}")
        named = {"batch_size": (batch_size, 1), "prefetch": (prefetch, 0), "seed": (seed, 0)}
        for name, (value, least) in named.items():
            whole(value, f"BatchLoader: {name}", least)
        if not len(dataset) or (drop_last and len(dataset) < batch_size):
            raise ValueError(
                f"BatchLoader: {len(dataset)} images give no batch of {batch_size}"
                f"{' (drop_last)' if drop_last else ''}"
            )
        where, c = "BatchLoader: preprocessing", dataset.images.shape[1]
        made = Preprocessing.of(preprocessing, None, where)
        self.preprocessing = Preprocessing.of(made, made.channels(c), where)
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.augment = augment
        self.seed = int(seed)
        self.drop_last = drop_last
        self.channels_last = channels_last
        self.prefetch = int(prefetch)
        self.epoch = 0
        self.rank, self.world = 0, 1

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the dataset's classes."""
        return self.dataset.classes

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch: another order, other augmentation from the next `iter` on."""
        if epoch < 0:
            raise ValueError(f"BatchLoader.set_epoch: wanted epoch >= 0, got {epoch}")
        self.epoch = epoch

    def shard(self, rank: int, world: int) -> BatchLoader:
        """Make the loader of one process among `world`: its part of every batch.

        The parts of a batch, in the order of ranks, are the batch of the unsharded loader, with its
        augmentation; `batch_size` is that of the whole. The sizes of parts differ by at most one.
        Raises ValueError if a rank would get no image of some batch.
        """
        if not 0 <= rank < world:
            raise ValueError(f"BatchLoader.shard: wanted 0 <= rank < world, got {rank}, {world}")
        last = len(self.dataset) % self.batch_size
        smallest = last if last and not self.drop_last else self.batch_size
        if smallest < world:
            raise ValueError(
                f"BatchLoader.shard: a batch of {smallest} images cannot be shared by {world} "
                f"processes; use drop_last=True or another batch_size"
            )
        part = copy.copy(self)
        part.rank, part.world = rank, world
        return part

    def __iter__(self) -> Iterator[Batch]:
        batches = self._batches(self.epoch)
        return _ahead(batches, self.prefetch) if self.prefetch else batches

    def order(self) -> np.ndarray:
        """Return the places of the images of this epoch in the dataset, as they come."""
        return self._order(self.epoch)[: len(self) * self.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        n = len(self.dataset)
        return (
            np.random.default_rng([self.seed, epoch]).permutation(n)
            if self.shuffle
            else (np.arange(n))
        )

    def _batches(self, epoch: int) -> Iterator[Batch]:
        order = self._order(epoch)
        for index in range(len(self)):
            yield self._batch(order[index * self.batch_size :][: self.batch_size], epoch, index)

    def _batch(self, positions: np.ndarray, epoch: int, index: int) -> Batch:
        n = len(positions)
        mine = slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)
        images = self.dataset.images.numpy()[positions[mine]]
        x = self.preprocessing.apply(images)
        if self.augment is not None:
            # Choices are drawn for the whole batch, so that they do not depend on the sharding.
            random = np.random.default_rng([self.seed, epoch, index])
            h, w = x.shape[2:]
            draw = self.augment.draw(n, h, w, random)
            x = self.augment.apply(x, draw.part(mine))
        if self.channels_last:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return torch.from_numpy(x), torch.from_numpy(self.dataset.labels.numpy()[positions[mine]])


def _ahead(batches: Iterator[Batch], depth: int) -> Iterator[Batch]:
    """Run an iterator on a thread, `depth` items ahead of the consumer.

    Its error is raised here, at the same item. If the consumer stops early the thread ends: closing
    this generator sets `stop`, which the thread sees between two attempts to hand over an item.
    """
    items: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def hand_over(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                items.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for batch in batches:
                hand_over(batch)
                if stop.is_set():
                    return
            hand_over(None)
        except BaseException as error:  # raised again by the consumer
            hand_over(error)

    thread = threading.Thread(target=produce, name="pyedge-loader", daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
