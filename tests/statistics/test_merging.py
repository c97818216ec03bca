"""A hundred devices, each with two classes of real digits, are one device with all of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import pyedge
from pyedge.data import load_digits
from pyedge.statistics.merging import merged, without
from pyedge.statistics.sums import Statistics
from tests.support.edge_student import tiny_student
from tests.support.statistics_case import clouds, same, sums_of

DEVICES = 100
CLOUDS = 200  # images that the cloud has, the first ones


def _student() -> pyedge.StudentFile:
    """The tiny student with the ten classes of digits."""
    student = tiny_student()
    random = np.random.default_rng(3)
    arrays = {
        **student.arrays,
        "head.weight": random.standard_normal((10, 5)).astype(np.float32),
        "head.bias": np.zeros(10, np.float32),
    }
    return dataclasses.replace(student, arrays=arrays, classes=tuple("0123456789"))


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    pytest.importorskip("sklearn")
    train, _, _ = load_digits()
    return train.images.numpy(), train.labels.numpy()


@pytest.fixture(scope="module")
def begun(digits: tuple[np.ndarray, np.ndarray]) -> pyedge.StudentFile:
    """What the cloud exports: some images are counted, and others are held aside."""
    images, labels = digits
    _, val, _ = load_digits()
    aside = val.images.numpy(), val.labels.numpy()
    return pyedge.add_statistics(
        _student(), images[:CLOUDS], labels[:CLOUDS], held=aside, expand="auto"
    )


@pytest.fixture(scope="module")
def devices(begun: pyedge.StudentFile, digits: tuple[np.ndarray, np.ndarray]) -> list[Statistics]:
    """Statistics of what each device has seen, all on the grid of what was exported."""
    images, labels = digits
    assert begun.statistics is not None
    found = []
    own = _parts(labels)
    for rows in own:
        student = pyedge.add_statistics(begun, images[rows], labels[rows])
        assert student.statistics is not None
        found.append(without(student.statistics, begun.statistics))
    return found


def _parts(labels: np.ndarray) -> list[np.ndarray]:
    """Rows of each device: of two classes, no image twice, and every image but the cloud's."""
    places = {k: np.flatnonzero(labels == k) for k in range(10)}
    places = {k: rows[rows >= CLOUDS] for k, rows in places.items()}
    shares = {k: np.array_split(rows, DEVICES // 5) for k, rows in places.items()}
    taken = dict.fromkeys(range(10), 0)
    found = []
    for device in range(DEVICES):
        pair = device % 10, (device + 1 + device // 50) % 10
        found.append(np.concatenate([shares[k][taken[k]] for k in pair]))
        for k in pair:
            taken[k] += 1
    return found


def test_a_hundred_devices_in_any_order_are_the_central_solve(
    begun: pyedge.StudentFile, devices: list[Statistics], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = digits
    rows = np.concatenate(_parts(labels))
    assert len(rows) == len(labels) - CLOUDS
    assert all(len(each.classes) == 2 for each in devices)
    total = pyedge.merge_statistics(devices)
    random = np.random.default_rng(0)
    for _ in range(3):
        order = random.permutation(DEVICES)
        parts = np.array_split(order, 7)
        nested = [pyedge.merge_statistics([devices[i] for i in part]) for part in parts]
        assert same(pyedge.merge_statistics(nested), total)
    central, cloud = pyedge.EdgeLearner(begun), pyedge.EdgeLearner(begun)
    central.learn(images[CLOUDS:], labels[CLOUDS:], forgettable=False)
    assert cloud.merge(devices) == ()
    assert cloud.statistics is not None
    assert central.statistics is not None
    assert same(cloud.statistics, central.statistics)
    # the same bits are closer than the 1e-6 that was wanted
    np.testing.assert_array_equal(cloud.logits(images), central.logits(images))


def test_forget_one_of_a_hundred_devices(
    begun: pyedge.StudentFile, devices: list[Statistics], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images, _ = digits
    all_of_them, others = pyedge.EdgeLearner(begun), pyedge.EdgeLearner(begun)
    all_of_them.merge(devices)
    assert not np.array_equal(all_of_them.logits(images[:9]), others.logits(images[:9]))
    others.merge(devices[:17] + devices[18:])
    all_of_them.forget(devices[17])
    assert all_of_them.statistics is not None
    assert others.statistics is not None
    assert same(all_of_them.statistics, others.statistics)
    np.testing.assert_array_equal(all_of_them.logits(images), others.logits(images))


def test_forget_a_class_is_never_having_seen_it(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    rows = labels != 4
    with_it = pyedge.EdgeLearner(
        pyedge.add_statistics(_student(), images, labels, forgettable=True)
    )
    with_it.forget("4")
    never = pyedge.add_statistics(_student(), images[rows], labels[rows], forgettable=True)
    assert with_it.statistics is not None
    assert never.statistics is not None
    for name in ("counts", "sums", "described_sums", "moments", "held"):
        np.testing.assert_array_equal(
            getattr(with_it.statistics, name), getattr(never.statistics, name)
        )
    assert with_it.classes == tuple("012356789")
    together = pyedge.EdgeLearner(pyedge.add_statistics(_student(), images, labels))
    before = together.logits(images[:50])
    with pytest.raises(ValueError, match=r"moments of 4 .*pooled"):
        together.forget("4")
    np.testing.assert_array_equal(together.logits(images[:50]), before)


def test_held_images_are_the_same_whatever_the_order_of_grids() -> None:
    features, labels = clouds(count=90)
    step = 2.0**-10
    parts = [
        sums_of(features[i::3], labels[i::3], step=step * scale)
        for i, scale in enumerate((1, 64, 64))
    ]
    total = merged(parts)
    assert same(merged([merged(parts[1:]), parts[0]]), total)
    assert same(merged([merged([parts[2], parts[0]]), parts[1]]), total)


def test_held_images_keep_their_size_on_a_finer_grid() -> None:
    features, labels = clouds(count=30)
    coarse, fine = 2.0**-12, 2.0**-20
    known = sums_of(features, labels, step=coarse)
    found = merged([known, sums_of(features[:1] * 2.0**-8, labels[:1], step=fine)])
    assert found.step == fine
    largest = np.abs(known.held).max() * coarse
    assert np.abs(found.held).max() * fine == largest


def test_without_what_was_never_added_is_refused_by_its_moments() -> None:
    features, labels = clouds()
    whole, other = sums_of(features, labels), clouds(count=5, seed=4)
    never = sums_of(50 * other[0], other[1], step=whole.step)
    with pytest.raises(ValueError, match="never added"):
        without(whole, never)
