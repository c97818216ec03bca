"""Learning from statistics: the classifier of all images of all times, whatever came when."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import pyedge
from pyedge import EdgeLearner
from pyedge.edge.features import features_of
from pyedge.images.edge_images import EdgeImages
from pyedge.statistics.merging import merged
from pyedge.student.features import features_digest
from tests.support.edge_student import CLASSES, changed, images, tiny_student
from tests.support.statistics_case import same

X, Y = images(150)
TEST_X, TEST_Y = images(90, seed=2)
OLD, NEW = Y < 2, Y == 2
HEAD = ("head.weight", "head.bias")


def begun(**more: object) -> pyedge.StudentFile:
    """A student with the statistics of its first two classes."""
    return pyedge.add_statistics(tiny_student(), X[OLD], Y[OLD], **more)  # type: ignore[arg-type]


def equal(a: EdgeLearner, b: EdgeLearner) -> bool:
    return not changed(a.student, b.student)


def accuracy(learner: EdgeLearner) -> float:
    return learner.evaluate(TEST_X, TEST_Y).accuracy


def test_statistics_of_the_cloud_change_no_answer() -> None:
    student = begun()
    assert not changed(tiny_student(), student)
    assert student.statistics is not None
    assert student.statistics.classes == CLASSES[1:] or len(student.statistics.classes) == 2
    assert student.statistics.digest == features_digest(tiny_student())


def test_learn_changes_the_classifier_alone_and_knows_all_classes() -> None:
    learner = EdgeLearner(begun())
    result = learner.learn(X[NEW], Y[NEW])
    assert changed(tiny_student(), learner.student) == set(HEAD)
    assert accuracy(learner) > 0.8
    assert learner.student.record[-1]["method"] == "statistics"
    assert result.steps == 0
    assert result.seconds > 0


def test_learn_gives_the_same_bits_in_any_order_and_split() -> None:
    def start(rows: np.ndarray) -> EdgeLearner:
        student = pyedge.add_statistics(tiny_student(), X[rows], Y[rows], forgettable=True)
        # a form is chosen when statistics begin, by what is held then
        head = {"kind": "ridge", "shrinkage": 0.01}
        return EdgeLearner(dataclasses.replace(student, head=head))

    order = np.random.default_rng(3).permutation(len(Y))
    brightest = X.reshape(len(X), -1).max(axis=1).argsort()[-60:]  # the same grid for both
    rest = np.setdiff1d(order, brightest)
    once, parts = start(np.concatenate([brightest, rest[::2]])), start(brightest)
    once.learn(X[rest[1::2]], Y[rest[1::2]])
    for some in np.array_split(rest, 4):
        parts.learn(X[some], Y[some])
    assert parts.statistics is not None
    assert once.statistics is not None
    assert same(parts.statistics, once.statistics)
    assert equal(once, parts)


def test_learn_twice_from_halves_is_learn_once_to_the_last_bit() -> None:
    whole, halves = EdgeLearner(begun()), EdgeLearner(begun())
    whole.learn(X[NEW], Y[NEW])
    halves.learn(X[NEW][:20], Y[NEW][:20])
    halves.learn(X[NEW][20:], Y[NEW][20:])
    assert whole.statistics is not None
    assert halves.statistics is not None
    assert same(whole.statistics, halves.statistics)
    assert equal(whole, halves)


@pytest.mark.parametrize("count", [1, 5, 20])
def test_learn_from_a_few_images(count: int) -> None:
    found = []
    for rows in np.split(np.flatnonzero(NEW)[:40], 40 // count)[:6]:  # one image may be a bad one
        learner = EdgeLearner(begun())
        learner.learn(X[rows], Y[rows])
        found.append(learner.evaluate(TEST_X, TEST_Y).per_class)
    low, middle, high = np.mean(found, axis=0)
    assert high > 0.55
    assert min(low, middle) > (0.75 if count == 1 else 0.85)  # one image says little of a class


def test_learn_a_class_that_is_added_and_more_images_of_an_old_one() -> None:
    learner = EdgeLearner(begun())
    learner.learn(X[NEW], Y[NEW])
    learner.add_classes(["dark"])
    dark = np.zeros((9, 1, 8, 8), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
    dark[:, :, ::2] += 200
    learner.learn(np.concatenate([dark, X[:6]]), ["dark"] * 9 + [CLASSES[i] for i in Y[:6]])
    assert learner.predict(dark).ids.tolist() == [3] * 9
    assert accuracy(learner) > 0.75
    assert learner.statistics is not None
    assert learner.statistics.count("dark") == 9


def test_learn_does_not_depend_on_threads_and_batches() -> None:
    found = []
    for threads, memory in ((1, None), (2, None), (3, None), (1, 200_000)):
        learner = EdgeLearner(begun(), threads=threads, max_memory=memory)
        learner.learn(X[NEW], Y[NEW])
        found.append(learner)
    assert all(equal(found[0], other) for other in found[1:])


def test_learn_with_val_tells_accuracy_and_calibration() -> None:
    learner = EdgeLearner(begun())
    result = learner.learn(X[NEW], Y[NEW], val=(TEST_X, TEST_Y))
    (row,) = result.history
    assert row["val_accuracy"] == accuracy(learner)
    assert result.best_score == row["val_accuracy"]
    assert 0 <= row["val_calibration_error"] < 0.2


def test_auto_takes_steps_where_options_of_steps_are_given_and_drops_what_is_stale() -> None:
    learner = EdgeLearner(begun())
    with pytest.warns(UserWarning, match=r"statistics .*dropped"):
        result = learner.learn(X, Y, steps=2, lr=0.1)
    assert result.steps == 2
    assert learner.statistics is None
    with pytest.raises(ValueError, match="the student has no statistics"):
        learner.predict(X, unknown=True)
    kept = EdgeLearner(begun())
    kept.learn(X, Y, steps=2, trainable="classifier")  # its features stay what they are
    assert kept.statistics is not None
    kept.learn(X[NEW], Y[NEW])
    assert accuracy(kept) > 0.8


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"method": "magic"},
            "method: wanted .auto., .statistics., .transfer. or .labels., got .magic",
        ),
        ({"method": "statistics", "lr": 0.1}, "lr has no meaning"),
        ({"method": "statistics", "options": pyedge.LearnOptions()}, "options has no meaning"),
        ({"method": "transfer"}, "needs knowledge"),
    ],
)
def test_method_that_cannot_be_is_refused(more: dict[str, object], message: str) -> None:
    learner = EdgeLearner(begun())
    with pytest.raises(ValueError, match=message):
        learner.learn(X[NEW], Y[NEW], **more)  # type: ignore[arg-type]
    assert equal(learner, EdgeLearner(begun()))


def test_learn_that_fails_leaves_the_learner_as_it_was() -> None:
    learner = EdgeLearner(begun())
    learner.add_classes(["fourth", "fifth"])
    before, logits = learner.student, learner.logits(TEST_X)
    with pytest.raises(ValueError, match=r"learn: nothing .*of (high|fifth)"):
        learner.learn(X[:9], ["fourth"] * 9)
    with pytest.raises(ValueError, match="NaN"):
        learner.learn(np.full((2, 1, 8, 8), np.nan, np.float32), [0, 1])
    stale = dataclasses.replace(
        begun(), preprocessing={"kind": "none", "mean": [], "deviation": []}
    )
    with pytest.raises(ValueError, match=r"learn: .*statistics .*other features"):
        EdgeLearner(stale).learn(X[NEW], Y[NEW])
    assert not changed(before, learner.student)
    assert np.array_equal(learner.logits(TEST_X), logits)
    assert learner.student.statistics is before.statistics or same(
        learner.student.statistics,
        before.statistics,  # type: ignore[arg-type]
    )


def test_learn_without_statistics_begins_them_where_every_class_is_there() -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match="learn: nothing is known of"):
        learner.learn(X[NEW], Y[NEW], method="statistics")
    learner.learn(X, Y, method="statistics")
    assert accuracy(learner) > 0.8
    one = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match=r"spread .*not known from 3 images"):
        one.learn(X[:3], Y[:3], method="statistics")


def test_forget_is_never_having_seen_it() -> None:
    learner = EdgeLearner(begun())
    learner.learn(X[NEW], Y[NEW])
    learner.forget("high")
    assert learner.classes == CLASSES[:2]
    assert learner.statistics is not None
    before = begun().statistics
    assert before is not None
    assert same(learner.statistics, merged([before]))
    again = EdgeLearner(learner.student)
    again.add_classes(["high"])
    again.learn(X[NEW], Y[NEW])
    direct = EdgeLearner(begun())
    direct.learn(X[NEW], Y[NEW])
    assert np.allclose(again.logits(TEST_X), direct.logits(TEST_X), atol=1e-4)
    with pytest.raises(ValueError, match=r"forget: .*of low .*pooled"):
        direct.forget("low")
    with pytest.raises(TypeError, match=r"forget: .*name of a class"):
        direct.forget(2)  # type: ignore[arg-type]


def test_learn_without_forgetting_by_name_takes_no_more_room() -> None:
    learner = EdgeLearner(begun())
    learner.learn(X[NEW][:30], Y[NEW][:30], forgettable=False)
    assert learner.statistics is not None
    assert len(learner.statistics.moments) == 1
    with pytest.raises(ValueError, match=r"forget: .*of high .*pooled"):
        learner.forget("high")
    apart = EdgeLearner(begun())
    apart.learn(X[NEW][:30], Y[NEW][:30])
    assert equal(learner, apart)  # the classifier needs the sum alone


def test_forget_a_contribution() -> None:
    learner = EdgeLearner(begun())
    learner.learn(X[NEW][:30], Y[NEW][:30])
    logits, sums = learner.logits(TEST_X), learner.statistics
    other = EdgeLearner(begun())
    other.learn(X[NEW][30:], Y[NEW][30:])
    assert other.statistics is not None
    assert sums is not None
    from pyedge.statistics.merging import without

    start = begun().statistics
    assert start is not None
    part = without(other.statistics, start)
    learner.learn(X[NEW][30:], Y[NEW][30:])
    learner.forget(part)
    assert learner.statistics is not None
    for name in ("counts", "sums", "moments"):
        assert np.array_equal(getattr(learner.statistics, name), getattr(sums, name))
    # the temperature comes from the images held, of which some are gone with the part
    scale = learner.logits(TEST_X) / logits
    assert np.ptp(scale[np.abs(logits) > 0.1]) < 1e-3


def test_predict_unknown_tells_distance_and_flag() -> None:
    learner = EdgeLearner(begun())
    learner.learn(X[NEW], Y[NEW])
    found = learner.predict(TEST_X, unknown=True)
    assert found.unknown.mean() < 0.2
    assert np.array_equal(found.ids, learner.predict(TEST_X).ids)
    noise = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    noise[:, :, :, ::2] = 255
    assert learner.predict(noise, unknown=True).distances.mean() > found.distances.mean()
    none = learner.predict([], unknown=True)
    assert none.unknown.shape == (0,)


def test_predict_unknown_needs_images_that_are_held() -> None:
    learner = EdgeLearner(pyedge.add_statistics(tiny_student(), X[:12], Y[:12]))
    before = learner.logits(TEST_X)
    with pytest.raises(ValueError, match="predict: unknown=True needs a threshold"):
        learner.predict(TEST_X, unknown=True)
    assert np.array_equal(learner.logits(TEST_X), before)


def test_copies_and_pickles_have_the_statistics() -> None:
    learner = EdgeLearner(begun())
    other = pickle.loads(pickle.dumps(learner))
    third = copy.deepcopy(learner)
    for each in (learner, other, third):
        each.learn(X[NEW], Y[NEW])
    assert equal(learner, other)
    assert equal(learner, third)
    assert (
        learner.predict(TEST_X, unknown=True).unknown.sum()
        == other.predict(TEST_X, unknown=True).unknown.sum()
    )


def test_features_are_what_the_classifier_reads() -> None:
    student = tiny_student()
    given = EdgeImages.of(TEST_X, student.input_shape)
    engine = student.engine()
    features = features_of(engine, given, 32)
    logits = features @ student.arrays["head.weight"].T + student.arrays["head.bias"]
    assert np.allclose(logits, EdgeLearner(student).logits(TEST_X), atol=1e-4)
