"""The loader: what a batch is, what it depends on, sharding, and its thread."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from pyedge.data import Augment, BatchLoader, ImageSet, standardise
from pyedge.data.batch_loader import _ahead


@pytest.fixture
def images() -> ImageSet:
    torch.manual_seed(0)
    n = 50
    return ImageSet(
        torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8), torch.arange(n) % 5, list("abcde")
    )


def same(a, b) -> bool:
    pairs = zip(a, b, strict=True)
    return all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in pairs)


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "pyedge-loader"]


def test_without_shuffle_is_the_standardised_set_in_order(images):
    loader = BatchLoader(images, 16, shuffle=False)
    batches = list(loader)
    assert [len(y) for _, y in batches] == [16, 16, 16, 2]
    assert len(loader) == 4
    assert torch.equal(torch.cat([x for x, _ in batches]), standardise(images.images))
    assert torch.equal(torch.cat([y for _, y in batches]), images.labels)
    x, y = batches[0]
    assert (x.dtype, y.dtype, loader.classes) == (torch.float32, torch.int64, images.classes)
    assert loader.dataset is images


def test_drop_last_leaves_the_short_batch_out(images):
    loader = BatchLoader(images, 16, drop_last=True)
    assert [len(y) for _, y in loader] == [16, 16, 16]
    assert len(loader) == 3


def test_shuffle_shows_each_image_once(images):
    x = torch.cat([x for x, _ in BatchLoader(images, 7)])
    whole = standardise(images.images)
    assert not torch.equal(x, whole)
    assert sorted(map(bytes, x.numpy())) == sorted(map(bytes, whole.numpy()))


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_depends_on_seed_and_epoch_alone(images, prefetch):
    def passes(seed: int, epoch: int, prefetch: int = prefetch):
        loader = BatchLoader(images, 16, augment=Augment(2, True, 3), seed=seed, prefetch=prefetch)
        loader.set_epoch(epoch)
        torch.rand(3)  # the global generator has no say
        return list(loader)

    first = passes(0, 2)
    assert same(first, passes(0, 2, prefetch=0))
    assert not same(first, passes(0, 3))
    assert not same(first, passes(1, 2))


def test_repeats_an_epoch_until_it_is_changed(images):
    loader = BatchLoader(images, 16, augment=Augment(cutout=4))
    assert same(list(loader), list(loader))


def test_augments_after_standardising_so_that_holes_hold_the_mean(images):
    # 8x8 holes centred anywhere: a quarter of each image at least is exactly 0
    for x, _ in BatchLoader(images, 16, augment=Augment(0, False, 8)):
        assert ((x == 0).float().mean((1, 2, 3)) >= 0.25).all()


def test_channels_last_changes_memory_only(images):
    plain = list(BatchLoader(images, 16, augment=Augment(2, True, 3)))
    last = list(BatchLoader(images, 16, augment=Augment(2, True, 3), channels_last=True))
    assert same(plain, last)
    assert plain[0][0].is_contiguous()
    assert last[0][0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_shards_join_to_the_whole(images, world, drop_last):
    images = images.subset(range(49))  # the last batch is smaller, and uneven
    loader = BatchLoader(images, 11, augment=Augment(2, True, 3), seed=4, drop_last=drop_last)
    parts = [loader.shard(rank, world) for rank in range(world)]
    for one in (loader, *parts):
        one.set_epoch(1)
    assert {len(p) for p in parts} == {len(loader)}
    joined = [
        (torch.cat([x for x, _ in shares]), torch.cat([y for _, y in shares]))
        for shares in zip(*parts, strict=True)
    ]
    assert same(list(loader), joined)


def test_shard_without_images_is_refused(images):
    loader = BatchLoader(images, 16)  # the last batch has 2
    with pytest.raises(ValueError, match=r"batch of 2 images .*shared by 3"):
        loader.shard(0, 3)
    BatchLoader(images, 16, drop_last=True).shard(0, 3)
    with pytest.raises(ValueError, match="0 <= rank < world"):
        loader.shard(2, 2)


def test_thread_ends_when_the_consumer_stops_early(images):
    before = len(loader_threads())
    for _ in BatchLoader(images, 5, prefetch=1):
        break
    iterator = iter(BatchLoader(images, 5, prefetch=1))
    next(iterator)
    iterator.close()
    assert len(loader_threads()) == before


def test_two_passes_at_once_do_not_mix(images):
    loader = BatchLoader(images, 16)
    pairs = list(zip(loader, loader, strict=True))
    assert same([a for a, _ in pairs], [b for _, b in pairs])


def test_error_of_the_thread_reaches_the_consumer():
    def broken():
        yield torch.zeros(1), torch.zeros(1)
        raise RuntimeError("disk on fire")

    iterator = _ahead(broken(), 2)
    next(iterator)
    with pytest.raises(RuntimeError, match="disk on fire"):
        next(iterator)
    assert not loader_threads()


def test_thread_works_ahead_of_the_consumer():
    made = []

    def batches():
        for i in range(10):
            made.append(i)
            yield torch.tensor(i), torch.tensor(i)

    iterator = _ahead(batches(), 3)
    next(iterator)
    deadline = time.monotonic() + 10
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(made) == 5  # one taken, three waiting, one in hand
    iterator.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size: .*from 1"),
        ({"batch_size": 4, "prefetch": -1}, "prefetch: .*from 0"),
        ({"batch_size": 4, "seed": -1}, "seed: .*from 0"),
        ({"batch_size": 51, "drop_last": True}, "50 images .*no batch of 51"),
    ],
)
def test_bad_arguments_are_named(images, options, words):
    with pytest.raises(ValueError, match=words):
        BatchLoader(images, **options)


def test_refuses_empty_sets_other_datasets_and_negative_epochs(images):
    with pytest.raises(ValueError, match="0 images"):
        BatchLoader(images.subset([]), 4)
    with pytest.raises(TypeError, match="wanted an ImageSet, got list"):
        BatchLoader([1, 2], 4)
    with pytest.raises(ValueError, match="epoch >= 0"):
        BatchLoader(images, 4).set_epoch(-1)
