"""Random features beside a classifier's own: where they are, and that they do no harm."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import pyedge
from pyedge import EdgeLearner
from pyedge.student.builder import GraphBuilder
from pyedge.student.expansion import Expand, own_features
from tests.support.edge_student import changed, images, tiny_student

X, Y = images(150)
TEST_X, TEST_Y = images(90, seed=2)
OLD, NEW = Y < 2, Y == 2


def begun(expand: Expand = None, seed: int = 0) -> pyedge.StudentFile:
    """A student with the statistics of its first two classes."""
    return pyedge.add_statistics(tiny_student(), X[OLD], Y[OLD], expand=expand, seed=seed)


def accuracy(learner: EdgeLearner) -> float:
    return learner.evaluate(TEST_X, TEST_Y).accuracy


def test_expansion_is_a_student_file_like_any_other(tmp_path: Path) -> None:
    student = begun(expand=40, seed=5)
    learner = EdgeLearner(student)
    learner.learn(X[NEW], Y[NEW])
    assert accuracy(learner) > 0.8
    assert student.structure_digest == tiny_student().structure_digest  # packs still fit
    before = EdgeLearner(tiny_student()).logits(TEST_X)
    assert np.allclose(EdgeLearner(student).logits(TEST_X), before, atol=1e-4)
    path = tmp_path / "wide.pyedge"
    learner.save(path)
    read = pyedge.read_student(path)
    assert read.made == {"expand.weight": 5}
    assert not changed(read, learner.student)
    assert np.array_equal(EdgeLearner(path).logits(TEST_X), learner.logits(TEST_X))
    assert path.stat().st_size < 200_000
    with pytest.raises(ValueError, match="add_statistics: expand: wanted a whole number from 1"):
        begun(expand=0)
    with pytest.raises(ValueError, match=r"add_statistics: expand: wanted a whole .*'lots'"):
        begun(expand="lots")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reads random features already"):
        pyedge.add_statistics(student, X[OLD], Y[OLD], expand=3)


def test_expansion_by_itself_is_where_statistics_are_begun_of_few_features() -> None:
    student = begun(expand="auto")
    assert student.made == {"expand.weight": 0}
    assert [each["command"] for each in student.record] == ["expand", "add_statistics"]
    again = pyedge.add_statistics(student, X[OLD][:9], Y[OLD][:9], expand="auto")  # more of it
    assert again.statistics is not None
    assert again.statistics.features == student.arrays["head.weight"].shape[1]
    plain = begun()  # what has statistics stays as it is
    assert not pyedge.add_statistics(plain, X[OLD][:9], Y[OLD][:9], expand="auto").made
    assert not pyedge.add_statistics(tiny_student(), X[:20], Y[:20], expand="auto").made  # too few
    first = next(node["weight"] for node in plain.nodes if node["op"] == "conv2d")
    stale = dataclasses.replace(plain, arrays={**plain.arrays, first: 2 * plain.arrays[first]})
    with pytest.warns(UserWarning, match=r"features have changed .*anew"):
        assert pyedge.add_statistics(stale, X[OLD], Y[OLD], expand="auto").made


def test_expansion_that_replaces_statistics_tells_of_it() -> None:
    with pytest.warns(UserWarning, match=r"expand=8 changes the features"):
        found = pyedge.add_statistics(begun(), X[NEW], Y[NEW], expand=8)
    assert found.statistics is not None
    assert found.statistics.counts.sum() == NEW.sum()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.arange(49), "expand=8: .*50 images, .*got 49"),
        (np.zeros(60, int), "expand=8: all images have the same features"),
    ],
)
def test_expansion_of_too_few_images_is_refused(rows: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pyedge.add_statistics(tiny_student(), X[rows], Y[rows], expand=8)


def flat_student() -> pyedge.StudentFile:
    """The tiny student without its pool: the classifier reads every pixel of the last map."""
    student = tiny_student()
    at = next(i for i, node in enumerate(student.nodes) if node["op"] == "global_avg_pool")
    nodes = [
        {**node, "inputs": [i - (i >= at) for i in node["inputs"]]}
        for i, node in enumerate(student.nodes)
        if i != at
    ]
    pixels = int(np.prod(student.layers()[at - 1].shape))
    wide = np.random.default_rng(0).standard_normal((3, pixels)).astype(np.float32) / 9
    return dataclasses.replace(
        student,
        nodes=tuple(nodes),
        arrays={**student.arrays, "head.weight": wide},
        output=student.output - 1,
    )


def test_expansion_of_a_flattened_map_is_left_out_or_refused_in_a_sentence() -> None:
    found = pyedge.add_statistics(flat_student(), X, Y, expand="auto")
    assert not found.made
    assert np.isfinite(EdgeLearner(found).logits(TEST_X)).all()
    with pytest.raises(ValueError, match=r"expand=8: .*flattened map"):
        pyedge.add_statistics(flat_student(), X, Y, expand=8)


def test_constant_that_is_added_is_no_part_of_the_structure() -> None:
    student = tiny_student()
    nodes = tuple(
        {**node, "bias": None} if node["name"] == "head" else node for node in student.nodes
    )
    arrays = {name: each for name, each in student.arrays.items() if name != "head.bias"}
    bare = dataclasses.replace(student, nodes=nodes, arrays=arrays)
    wide = pyedge.add_statistics(bare, X, Y, expand=8)
    learner = EdgeLearner(pyedge.add_statistics(bare, X[OLD], Y[OLD]))
    learner.learn(X[NEW], Y[NEW])
    assert wide.structure_digest == bare.structure_digest == learner.student.structure_digest
    assert np.allclose(
        EdgeLearner(wide).logits(TEST_X), EdgeLearner(bare).logits(TEST_X), atol=1e-4
    )


@pytest.mark.parametrize("first", [20, 50])
def test_expansion_of_digits_is_no_worse_than_none_where_images_are_few(first: int) -> None:
    """Begun below or at the least number of images a class, and taught up to 60."""
    found = {}
    for expand in (None, "auto"):
        found[expand] = _taught_pixels(first, expand)
    assert found["auto"] > found[None] - 0.01
    assert found["auto"] > 0.9


def _taught_pixels(first: int, expand: Expand) -> float:
    """Accuracy on five digits of a student whose features are the pixels."""
    sklearn = pytest.importorskip("sklearn.datasets")
    pixels, digits = sklearn.load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 1, 8, 8) * 15).astype(np.uint8)
    rows = [np.flatnonzero(digits == k) for k in range(5)]
    begin, more, test = (
        np.concatenate([r[part] for r in rows])
        for part in (slice(first), slice(first, 60), slice(60, 160))
    )
    student = pyedge.add_statistics(pixel_student(), images[begin], digits[begin], expand=expand)
    learner = EdgeLearner(student)
    learner.learn(images[more], digits[more])
    return learner.evaluate(images[test], digits[test]).accuracy


def pixel_student() -> pyedge.StudentFile:
    """64 channels of one pixel each, which a convolution as large as the image makes."""
    head = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32) / 9
    build = GraphBuilder((1, 8, 8))
    x = build.conv("pixels", 0, np.eye(64).reshape(64, 1, 8, 8))
    x = build.add("flatten", "flat", [x])
    x = build.add("linear", "head", [x], weight=head, bias=np.zeros(5, np.float32))
    return dataclasses.replace(
        tiny_student(),
        nodes=tuple(build.nodes),
        arrays=build.arrays,
        output=x,
        taps=(),
        kept=(),
        teacher_channels=(),
        last_convs=(),
        trainable=("head",),
        classes=tuple("01234"),
    )


def test_expansion_measures_distances_and_few_images_in_the_features_themselves() -> None:
    wide, plain = EdgeLearner(begun(expand="auto")), EdgeLearner(begun())
    few = np.flatnonzero(NEW)[:10]
    for learner in (wide, plain):
        learner.learn(X[few], Y[few])
    assert accuracy(wide) == pytest.approx(accuracy(plain), abs=0.03)
    own = plain.predict(TEST_X, unknown=True)
    found = wide.predict(TEST_X, unknown=True)
    assert np.corrcoef(own.distances, found.distances)[0, 1] > 0.95
    assert (own.unknown == found.unknown).mean() > 0.95


def test_expansion_of_a_projection_that_has_learned_is_no_longer_one() -> None:
    student = begun(expand=8)
    arrays = {**student.arrays, "expand.weight": student.arrays["expand.weight"] + 1}
    assert own_features(student) is not None
    assert own_features(dataclasses.replace(student, arrays=arrays)) is None
