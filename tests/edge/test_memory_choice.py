"""What a memory keeps: herding, a random choice that no order changes, and its bounds."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pyedge
from pyedge.edge.features import features_of
from pyedge.edge.herding import herded
from pyedge.edge.learner import EdgeLearner
from pyedge.edge.replay_memory import Memory
from pyedge.images.edge_images import EdgeImages
from tests.support.edge_student import CLASSES, images, tiny_student

PIXELS, LABELS = images(60)
ONE = PIXELS[0].nbytes


def filled(rows: NDArray[Any] | slice = slice(None), **settings: Any) -> Memory:
    memory = Memory(**settings)
    memory.add(tiny_student(), PIXELS[rows], LABELS[rows])
    return memory


def direct_herding(features: NDArray[Any], count: int) -> list[int]:
    """Alg. 4 of iCaRL as it stands there, candidate by candidate."""
    unit = [f / np.sqrt(np.dot(f, f)) for f in features.astype(np.float64)]
    mean = np.sum(unit, axis=0)
    mean = mean / np.sqrt(np.dot(mean, mean))
    chosen: list[int] = []
    for k in range(1, count + 1):
        best, nearest = -1, np.inf
        for i, f in enumerate(unit):
            if i in chosen:
                continue
            rest = mean - (f + np.sum([unit[j] for j in chosen], axis=0)) / k
            distance = float(np.sqrt(np.dot(rest, rest)))
            if distance < nearest - 1e-12:
                best, nearest = i, distance
        chosen.append(best)
    return chosen


def test_herding_is_that_of_the_paper() -> None:
    features = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32) + 1
    found = herded(features, np.ones(40), 15)
    assert found.tolist() == direct_herding(features, 15)
    assert herded(features, np.ones(40), 6).tolist() == found[:6].tolist()
    assert sorted(herded(features[:3], np.ones(3), 9)) == [0, 1, 2]


def test_herding_weights_count_an_image_for_several() -> None:
    random = np.random.default_rng(1)
    features = random.standard_normal((12, 5)).astype(np.float32) + 1
    weights = np.ones(12)
    weights[2] = 30
    assert herded(features, weights, 1).tolist() == [2]  # the mean is next to it
    # as if it stood there 30 times
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    mean = (weights[:, None] * unit).sum(axis=0)
    nearest = (unit @ (mean / np.linalg.norm(mean))).argmax()
    assert nearest == 2


def test_memory_keeps_the_herd_of_each_class() -> None:
    memory = filled(per_class=4)
    assert memory.classes == tuple(sorted(CLASSES))
    assert memory.counts == dict.fromkeys(sorted(CLASSES), 4)
    assert memory.seen == dict.fromkeys(sorted(CLASSES), 20)
    assert len(memory) == 12
    assert memory.nbytes == 12 * ONE
    student = tiny_student()
    for label, name in enumerate(CLASSES):
        mine = PIXELS[label == LABELS]
        features = features_of(student.engine(), EdgeImages.from_array(mine, (1, 8, 8)), 16)
        expected = {mine[i].tobytes() for i in direct_herding(features, 4)}
        kept = memory.images[memory.labels == name]
        assert {each.tobytes() for each in kept} == expected


@pytest.mark.parametrize("choose", ["herding", "random"])
def test_memory_is_the_same_for_any_order_of_the_images(choose: str) -> None:
    order = np.random.default_rng(5).permutation(60)
    one, other = filled(choose=choose, per_class=5), filled(order, choose=choose, per_class=5)
    np.testing.assert_array_equal(one.images, other.images)
    assert one.labels.tolist() == other.labels.tolist()


@pytest.mark.parametrize("max_bytes", [None, 9 * ONE])
@pytest.mark.filterwarnings("ignore:.*max_bytes")
def test_random_choice_is_the_same_for_any_split(max_bytes: int | None) -> None:
    settings = {"choose": "random", "per_class": 5, "max_bytes": max_bytes, "seed": 3}
    whole = filled(**settings)
    order = np.random.default_rng(6).permutation(60)
    parts = Memory(**settings)
    for rows in np.array_split(order, 7):
        parts.add(tiny_student(), PIXELS[rows], np.array(CLASSES)[LABELS[rows]])
    parts.add(tiny_student(), PIXELS[:9], LABELS[:9])  # again: an image counts once
    np.testing.assert_array_equal(whole.images, parts.images)
    assert whole.labels.tolist() == parts.labels.tolist()
    assert not np.array_equal(whole.images, filled(**{**settings, "seed": 4}).images)


def test_memory_takes_an_image_once() -> None:
    memory = Memory(per_class=50)
    memory.add(tiny_student(), np.concatenate([PIXELS, PIXELS]), np.tile(LABELS, 2))
    assert memory.counts == memory.seen == dict.fromkeys(sorted(CLASSES), 20)


def test_herding_over_two_parts_stays_near_the_mean_of_all() -> None:
    student = tiny_student()
    features = features_of(student.engine(), EdgeImages.from_array(PIXELS, (1, 8, 8)), 32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    memory = Memory(per_class=5)
    for part in (slice(0, 30), slice(30, 60)):
        memory.add(student, PIXELS[part], LABELS[part])
    kept = features_of(student.engine(), EdgeImages.from_array(memory.images, (1, 8, 8)), 32)
    kept /= np.linalg.norm(kept, axis=1, keepdims=True)
    random = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        mean = unit[label == LABELS].mean(axis=0)
        far = np.linalg.norm(kept[memory.labels == name].mean(axis=0) - mean)
        others = [
            np.linalg.norm(random.permutation(unit[label == LABELS])[:5].mean(axis=0) - mean)
            for _ in range(50)
        ]
        assert far < np.median(others)


def test_memory_bounds_shrink_every_class_alike_from_the_back() -> None:
    whole = filled(per_class=6)
    with pytest.warns(UserWarning, match=r"3 images a class .*not 6"):
        small = filled(per_class=6, max_bytes=11 * ONE)
    assert small.counts == dict.fromkeys(sorted(CLASSES), 3)
    for name in CLASSES:
        np.testing.assert_array_equal(
            small.images[small.labels == name], whole.images[whole.labels == name][:3]
        )
    before = small.images
    with pytest.raises(ValueError, match=r"no room for an image of each of 3 classes, .*192"):
        small.limit(max_bytes=2 * ONE)
    np.testing.assert_array_equal(small.images, before)
    assert small.max_bytes == 11 * ONE
    assert whole.limit(per_class=2) == dict.fromkeys(sorted(CLASSES), 2)


def test_memory_gives_room_of_small_classes_to_others() -> None:
    rows = np.flatnonzero((LABELS == 0) | (np.arange(60) < 2))
    with pytest.warns(UserWarning, match="max_bytes"):
        memory = filled(rows, per_class=10, max_bytes=6 * ONE)
    assert memory.counts == {"low": 5, "middle": 1}


def test_memory_grows_and_lets_go_of_classes() -> None:
    memory = Memory(per_class=3)
    learner = EdgeLearner(tiny_student())
    memory.add(learner, PIXELS[LABELS == 0], LABELS[LABELS == 0])
    learner.add_classes(["mug"])
    assert memory.add(learner, PIXELS[LABELS == 1], ["mug"] * 20) == {"low": 3, "mug": 3}
    memory.remove("low")
    assert memory.classes == ("mug",)
    with pytest.raises(ValueError, match=r"no image .*'low'; .*mug"):
        memory.remove("low")
    assert "3 a class of 1" in repr(memory)
    assert repr(Memory()) == "Memory(empty, up to 20 images a class)"


def test_memory_copies_are_its_own() -> None:
    memory = filled(per_class=3)
    others = [copy.deepcopy(memory), pickle.loads(pickle.dumps(memory)), copy.copy(memory)]
    memory.remove("low")
    for other in others:
        assert len(other) == 9


def test_memory_says_that_float_images_stay_floats() -> None:
    floats = ((PIXELS - 90.0) / 60).astype(np.float32)
    memory = Memory(per_class=2)
    with pytest.warns(UserWarning, match="four times the bytes"):
        memory.add(tiny_student(), floats, LABELS)
    assert memory.dtype == np.float32
    assert "float32" in repr(memory)
    assert memory.nbytes == 6 * 4 * ONE
    with pytest.raises(TypeError, match=r"images .*uint8, .*memory.*float32"):
        memory.add(tiny_student(), PIXELS, LABELS)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"per_class": 0}, ValueError, "per_class: wanted a whole number from 1"),
        ({"per_class": 2.5}, TypeError, "per_class: wanted a whole number"),
        ({"choose": "best"}, ValueError, '"herding" or "random"'),
        ({"max_bytes": 0}, ValueError, "max_bytes: wanted a whole number from 1"),
        ({"seed": -1}, ValueError, "seed: wanted a whole number from 0"),
    ],
)
def test_memory_refuses_settings(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Memory(**settings)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((3, PIXELS, LABELS), TypeError, "student: wanted a StudentFile, .* got an int"),
        (
            (tiny_student(), PIXELS[:0], LABELS[:0]),
            ValueError,
            "images: wanted at least one, got none",
        ),
        ((tiny_student(), PIXELS, None), ValueError, "wanted labels"),
        ((tiny_student(), PIXELS, ["cup"] * 60), ValueError, "no class cup"),
        ((tiny_student(), PIXELS[:, :, :4, :4], LABELS), ValueError, "8"),
    ],
)
def test_memory_refuses_images_and_stays_as_it_was(
    given: Any, error: type[Exception], message: str
) -> None:
    memory = filled(per_class=2)
    before = memory.images
    with pytest.raises(error, match=message):
        memory.add(*given)
    np.testing.assert_array_equal(memory.images, before)


def test_memory_is_a_public_name_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory = pyedge.Memory(per_class=3)
        memory.add(pyedge.EdgeLearner(tiny_student()), PIXELS, LABELS)
    assert len(memory) == 9
