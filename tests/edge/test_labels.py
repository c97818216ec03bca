"""Labels on the device, in whatever programs have them: taken by position, or refused by name."""

from __future__ import annotations

import array
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.edge.learner import EdgeLearner
from pyedge.errors import FormatError
from pyedge.images.edge_images import EdgeImages
from pyedge.images.labels import ids_or_names
from tests.support.edge_student import CLASSES, images, tiny_student

PIXELS, IDS = images(12)
NAMES = [CLASSES[i] for i in IDS]


class Column:
    """A column of a table, as pandas and polars have it: an index of its own, `to_numpy`."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def to_numpy(self) -> np.ndarray:
        return np.array(self.values, dtype=object)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: int) -> Any:
        return self.values[::-1][key]  # by label, not by position


class Categorical:
    """Codes with categories in another order than the student's, as an array of their values."""

    categories = tuple(reversed(CLASSES))

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(NAMES, dtype=object)


TAKEN = {
    "array": IDS,
    "list": IDS.tolist(),
    "tuple": tuple(IDS.tolist()),
    "column with an index of its own": Column(IDS.tolist()),
    "column of names": Column(NAMES),
    "categorical of names": Categorical(),
    "names": NAMES,
    "array of names": np.array(NAMES),
    "objects that are names": np.array(NAMES, dtype=object),
    "int32": IDS.astype(np.int32),
    "uint8": IDS.astype(np.uint8),
    "whole floats": IDS.astype(np.float64),
    "one-hot": np.eye(3)[IDS],
    "one-hot bools": np.eye(3, dtype=bool)[IDS],
    "one column": IDS[:, None],
    "numbers of numpy in a list": [np.int16(i) for i in IDS],
    "array of the standard library": array.array("i", IDS.tolist()),
    "deque": deque(IDS.tolist()),
    "values of a dict": dict(enumerate(IDS.tolist())).values(),
}


@pytest.mark.parametrize("given", TAKEN.values(), ids=TAKEN)
def test_edge_labels_of_every_kind_mean_the_same(given: Any) -> None:
    learner = EdgeLearner(tiny_student())
    wanted = learner.evaluate(PIXELS, IDS).confusion
    assert np.array_equal(learner.evaluate(PIXELS, given).confusion, wanted)
    straight = EdgeLearner(tiny_student())
    straight.learn(PIXELS, IDS, steps=2, progress=False)
    learner.learn(PIXELS, given, steps=2, progress=False)
    for name, value in straight.student.arrays.items():
        assert np.array_equal(value, learner.student.arrays[name])


def test_edge_labels_go_with_a_list_of_images() -> None:
    learner = EdgeLearner(tiny_student())
    wanted = learner.evaluate(PIXELS, IDS).confusion
    assert np.array_equal(learner.evaluate(list(PIXELS), NAMES).confusion, wanted)
    with pytest.raises(ValueError, match=r"evaluate: labels: .*images has labels"):
        learner.evaluate(list(zip(PIXELS, IDS, strict=True)), IDS)


def test_edge_labels_go_with_an_array_file(tmp_path: Path) -> None:
    learner = EdgeLearner(tiny_student())
    np.save(tmp_path / "pixels.npy", PIXELS)
    found = learner.evaluate(tmp_path / "pixels.npy", NAMES).confusion
    assert np.array_equal(found, learner.evaluate(PIXELS, IDS).confusion)
    with pytest.raises(ValueError, match="labels: wanted shape"):
        learner.evaluate(tmp_path / "pixels.npy", NAMES[:3])


with_gap: list[Any] = [*IDS.tolist()]
with_gap[4] = None
REFUSED = {
    "None among them": (with_gap, ValueError, "wanted one for each image, got None at 4"),
    "NaN among names": (
        [np.nan, *NAMES[1:]],
        TypeError,
        "wanted only names, or only ids, got nan",
    ),
    "a gap in a column": (Column([float("nan"), *NAMES[1:]]), ValueError, "got nan at 0"),
    "too few": (IDS[:5], ValueError, r"wanted shape \(12,\), one for each image, got \(5,\)"),
    "too many": ([*IDS.tolist(), 0], ValueError, r"wanted shape \(12,\).*got \(13,\)"),
    "beyond": (IDS + 1, ValueError, r"wanted ids in 0\.\.2, .* got 1\.\.3"),
    "negative": (IDS - 1, ValueError, "wanted ids from 0, got -1"),
    "bools": (IDS > 0, TypeError, r"got bool, which labels only two classes \(3 are known\)"),
    "halves": (IDS + 0.5, TypeError, r"wanted whole numbers or names, got 0\.5 at 0"),
    "infinity": (IDS + np.inf, TypeError, "got inf at 0"),
    "soft": (np.full((12, 3), 1 / 3), ValueError, "wanted one-hot, each image of one class"),
    "two classes": (np.eye(3)[IDS] + np.eye(3)[IDS - 1], ValueError, "wanted one-hot"),
    "other classes": (np.eye(4)[IDS], ValueError, "a column for each of the 3 classes"),
    "a row": (IDS[None], ValueError, r"got shape \(1, 12\)"),
    "names and ids": ([0, *NAMES[1:]], TypeError, "got 0 at 0 among 11 names"),
    "a generator": ((i for i in IDS), TypeError, "one label for each image, got generator"),
    "one name": ("low", TypeError, "one label for each image, got str"),
    "a dict": ({"labels": IDS}, TypeError, "one label for each image, got dict"),
    "a set": ({0, 1, 2}, TypeError, "one label for each image, got set"),
    "bytes": (np.array([b"low"] * 12), TypeError, "wanted whole numbers or names"),
    "complex": (IDS.astype(complex), TypeError, "wanted whole numbers or names, got complex128"),
    "ragged": ([[0], [1, 2]] * 6, TypeError, "of which numpy makes no array"),
    "dates": (np.array(["2020-01-01"] * 12, dtype="M8[D]"), TypeError, "got datetime64"),
}


@pytest.mark.parametrize(("given", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_edge_labels_that_could_mean_something_else_are_refused(
    given: Any, kind: type[Exception], words: str
) -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(kind, match=f"learn: labels.*{words}"):
        learner.learn(PIXELS, given, steps=1, progress=False)
    if not hasattr(given, "__next__"):
        with pytest.raises(kind, match=f"evaluate: labels.*{words}"):
            learner.evaluate(PIXELS, given)


def test_edge_labels_in_a_table_of_several_columns_are_refused() -> None:
    class Table(Column):
        columns = ("low", "middle", "high")

    with pytest.raises(TypeError, match="wanted one column, got a table with 3: low, middle"):
        ids_or_names(Table([[1, 0, 0]]), "learn: labels")


def test_edge_labels_that_are_bools_are_ids_of_two_classes() -> None:
    found = ids_or_names([True, False, True], "learn: labels", classes=2)
    assert found.tolist() == [1, 0, 1]
    assert found.dtype == np.int64


def test_edge_labels_of_no_images_are_none() -> None:
    assert EdgeImages.of(PIXELS[:0], (1, 8, 8), []).labels.tolist() == []


def test_edge_labels_from_pandas_count_by_position() -> None:
    pandas = pytest.importorskip("pandas")
    learner = EdgeLearner(tiny_student())
    wanted = learner.evaluate(PIXELS, IDS).confusion
    shuffled = np.random.default_rng(0).permutation(12)
    for given in (
        pandas.Series(IDS, index=shuffled),
        pandas.Series(IDS, dtype="Int64"),
        pandas.Series(NAMES, index=shuffled, dtype="string"),
        pandas.Series(pandas.Categorical(NAMES, categories=CLASSES[::-1]), index=shuffled),
        pandas.Categorical(NAMES, categories=CLASSES[::-1]),
        pandas.DataFrame({"label": NAMES}),
        pandas.Index(IDS),
    ):
        assert np.array_equal(learner.evaluate(PIXELS, given).confusion, wanted)
    with pytest.raises((TypeError, ValueError), match=r"evaluate: labels: wanted .* got nan at 0"):
        learner.evaluate(PIXELS, pandas.Series([None, *IDS[1:]], dtype="Int64"))
    with pytest.raises(TypeError, match="wanted one column, got a table with 3"):
        learner.evaluate(PIXELS, pandas.get_dummies(pandas.Series(NAMES)))


NUMBERS = {
    "whole numbers of numpy": {"epochs": np.int32(1), "batch_size": np.int64(4)},
    "real numbers of numpy": {"steps": np.int64(3), "lr": np.float32(0.5), "clip": np.int8(2)},
    "weights in an array": {"steps": 1, "lambdas": np.array([0.0, 0.0, 1.0])},
    "a share of numpy": {"steps": 1, "val": np.float32(0.25)},
    "a flag of numpy": {"steps": 1, "keep_best": np.True_},
}


@pytest.mark.parametrize("given", NUMBERS.values(), ids=NUMBERS)
def test_edge_options_take_numbers_of_numpy(given: dict[str, Any]) -> None:
    learner = EdgeLearner(tiny_student(), threads=np.int64(1), max_memory=np.int64(10**9))
    plain = {key: value.item() if np.ndim(value) == 0 and hasattr(value, "item") else value
             for key, value in given.items()}  # fmt: skip
    straight = EdgeLearner(tiny_student(), threads=1)
    found = learner.learn(PIXELS, IDS, progress=False, **given)
    assert found.steps == straight.learn(PIXELS, IDS, progress=False, **plain).steps
    assert np.array_equal(learner.logits(PIXELS, batch_size=np.int64(5)), straight.logits(PIXELS))


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"epochs": 2.5}, TypeError, "epochs: wanted a whole number from 1, got 2.5"),
        ({"steps": "3"}, TypeError, "steps: wanted a whole number from 1, got '3'"),
        ({"lr": "0.1"}, TypeError, "lr: wanted a number above 0, got '0.1'"),
        ({"batch_size": 8.0}, TypeError, "batch_size: wanted a whole number from 1, got 8.0"),
        ({"keep_best": "no"}, TypeError, "keep_best: wanted True or False, got 'no'"),
        ({"flip": 1}, TypeError, "flip: wanted True or False, got 1"),
        ({"checkpoint": 3}, TypeError, "checkpoint: wanted the path of a file, got 3"),
        ({"trainable": 3}, ValueError, r"trainable: wanted .* got \(3,\)"),
        ({"milestones": 3, "schedule": "steps"}, ValueError, "milestones: wanted epochs.* got 3"),
    ],
)
def test_edge_options_of_another_kind_are_named(
    given: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=f"LearnOptions: {words}"):
        EdgeLearner(tiny_student()).learn(PIXELS, IDS, **given)


@pytest.mark.parametrize("value", [2.0, "2", True, None, [1]])
def test_edge_numbers_beside_the_options_are_named(value: Any) -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(TypeError, match="predict: batch_size: wanted a whole number from 1, got"):
        learner.predict(PIXELS, batch_size=value)
    if value is not None:
        with pytest.raises(
            TypeError, match="EdgeLearner: threads: wanted a whole number from 1 to 1024, got"
        ):
            EdgeLearner(tiny_student(), threads=value)


@pytest.mark.parametrize(
    "labels",
    [
        np.ma.array([0, 1, 2], mask=[False, True, False]),
        np.ma.array(["a", "b", "c"], mask=[False, True, False]),
        [np.ma.array(0), np.ma.masked, 2],
    ],
)
def test_labels_that_are_masked_are_not_taken_for_data(labels: Any) -> None:
    with pytest.raises(
        TypeError, match="f: labels: wanted one for each image, got 1 that are masked"
    ):
        ids_or_names(labels, "f: labels", count=3)


def test_labels_with_a_mask_that_hides_nothing_are_taken() -> None:
    found = ids_or_names(np.ma.array([0, 1], mask=[False, False]), "f: labels", count=2)
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize("key", ["classes", "class_names"])
def test_labels_of_an_array_file_go_by_the_names_that_it_gives(tmp_path: Path, key: str) -> None:
    learner = EdgeLearner(tiny_student())
    pixels, labels = images()
    names = np.array(CLASSES[::-1])
    np.savez(tmp_path / "named.npz", images=pixels, labels=2 - labels, **{key: names})
    found = learner.evaluate(tmp_path / "named.npz")
    assert np.array_equal(found.confusion, learner.evaluate(pixels, labels).confusion)
    np.savez(tmp_path / "odd.npz", images=pixels, labels=labels, **{key: np.arange(3)})
    with pytest.raises(FormatError, match=f"{key}: .*list of names"):
        learner.evaluate(tmp_path / "odd.npz")
    np.savez(tmp_path / "short.npz", images=pixels, labels=labels, **{key: names[:2]})
    with pytest.raises(ValueError, match=r"labels: .*0\.\.1, .*2 names"):
        learner.evaluate(tmp_path / "short.npz")


def test_labels_true_are_those_that_images_carry() -> None:
    learner = EdgeLearner(tiny_student())
    pixels, labels = images()
    carried = EdgeImages.of(pixels, learner.input_shape, labels)
    assert np.array_equal(
        learner.evaluate(carried, True).confusion, learner.evaluate(pixels, labels).confusion
    )
    with pytest.raises(ValueError, match="evaluate: wanted labels"):
        learner.evaluate(pixels, True)


class Items:
    """What torch calls a map-style data set: it is asked by place, and does not iterate."""

    def __init__(self, pixels: Any, labels: Any, classes: tuple[str, ...]) -> None:
        self.pairs, self.classes = list(zip(pixels, labels, strict=True)), classes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> Any:
        return self.pairs[place]


class Whole(Items):
    """What an ImageSet is."""

    def __init__(self, pixels: Any, labels: Any, classes: tuple[str, ...]) -> None:
        super().__init__(pixels, labels, classes)
        self.images, self.labels = pixels, labels


@pytest.mark.parametrize("kind", [Items, Whole])
def test_labels_of_a_data_set_that_does_not_iterate_go_by_its_classes(kind: Any) -> None:
    learner = EdgeLearner(tiny_student())
    pixels, labels = images()
    wanted = learner.evaluate(pixels, labels).confusion
    given = kind(pixels, 3 - labels, ("cup", *CLASSES[::-1]))  # nothing is of cup
    assert np.array_equal(learner.evaluate(given).confusion, wanted)
    assert np.array_equal(learner.predict(given).ids, learner.predict(pixels).ids)
    with pytest.raises(ValueError, match=r"labels: wanted None, as images has labels"):
        learner.evaluate(given, labels)
    learner.learn(given, labelled=True, val=given, steps=2, progress=False)
    other = EdgeLearner(tiny_student())
    other.learn(pixels, labels, val=(pixels, labels), steps=2, progress=False)
    assert np.array_equal(learner.logits(pixels), other.logits(pixels))
