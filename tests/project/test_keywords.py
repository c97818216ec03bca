"""Arguments of public functions: names that are wrong, and those of the version before."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyedge
from pyedge.arguments import choice, flag, real, whole
from pyedge.edge.learn_options import LearnOptions, LearnSettings
from pyedge.edge.learner import EdgeLearner
from pyedge.keywords import keywords
from pyedge.runs.run_options import LossOptions, LossSettings, RunOptions, RunSettings
from tests.support.edge_student import CLASSES, images, tiny_student

PIXELS, LABELS = images(48)
QUICK = LearnOptions(steps=4, batch_size=16, progress=False)


@dataclass
class Fields:
    rate: float = 0.5


@keywords(fields=Fields, renamed={"colour": "shade"})
def painted(wall: str, shade: str = "white", **overrides: Any) -> tuple[Any, ...]:
    return wall, shade, overrides


@keywords(old_order=lambda first, second: isinstance(first, int))
def ordered(word: str, number: int) -> tuple[Any, ...]:
    return word, number


def test_keywords_show_the_fields_of_options() -> None:
    assert str(inspect.signature(painted)) == (
        "(wall: 'str', shade: 'str' = 'white', *, rate: 'float' = 0.5) -> 'tuple[Any, ...]'"
    )
    assert painted("w", rate=1) == ("w", "white", {"rate": 1})
    assert painted.__name__ == "painted"


def test_keywords_name_what_there_is() -> None:
    message = r"painted: wanted arguments among wall, shade, rate, got 'shad' \(did you mean shade"
    with pytest.raises(TypeError, match=message):
        painted("w", shad="red")
    with pytest.raises(TypeError, match=r"rate, got 'zzz'$"):
        painted("w", zzz=1)


def test_keywords_take_an_old_name_with_a_warning_at_the_callers_line() -> None:
    with pytest.warns(DeprecationWarning, match="painted: colour is called shade now") as found:
        assert painted("w", colour="red") == painted("w", "red")
    assert [each.filename for each in found] == [__file__]
    with pytest.raises(TypeError, match="wanted shade alone, got colour, its old name, as well"):
        painted("w", colour="red", shade="red")


def test_keywords_take_an_old_order_where_it_is_plain() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ordered("a", 1) == ordered(number=1, word="a") == ("a", 1)
    for call in (lambda: ordered(1, "a"), lambda: ordered(1, word="a")):
        with pytest.warns(DeprecationWarning, match="ordered: word comes before number now"):
            assert call() == ("a", 1)


def test_arguments_have_one_form_of_message() -> None:
    for call, kind, message in (
        (lambda: whole(0, "f: a", 1), ValueError, "f: a: wanted a whole number from 1, got 0"),
        (lambda: whole(9, "f: a", 1, 8), ValueError, "wanted a whole number from 1 to 8, got 9"),
        (lambda: whole(True, "f: a", 1), TypeError, "wanted a whole number from 1, got True"),
        (lambda: real("1", "f: a", above=0), TypeError, "wanted a number above 0, got '1'"),
        (lambda: real(2, "f: a", least=0, below=1), ValueError, "a number from 0 below 1, got 2"),
        (lambda: real(np.nan, "f: a"), ValueError, "f: a: wanted a number, got nan"),
        (lambda: flag(1, "f: a"), TypeError, "f: a: wanted True or False, got 1"),
        (lambda: choice("d", "f: a", "abc"), ValueError, 'wanted "a", "b" or "c", got \'d\''),
        (lambda: choice(["a"], "f: a", ["a"]), ValueError, r"f: a: wanted \"a\", got \['a'\]"),
    ):
        with pytest.raises(kind, match=message):
            call()
    assert flag(np.bool_(True), "f: a") is True
    assert whole(np.int8(3), "f: a", 1) == 3


@pytest.mark.parametrize(
    ("options", "settings", "apart"),
    [
        (RunOptions, RunSettings, {"trainable"}),
        (LossOptions, (RunSettings, LossSettings), {"trainable"}),
        (LearnOptions, LearnSettings, set()),
    ],
)
def test_settings_are_the_fields_of_the_options(options: Any, settings: Any, apart: Any) -> None:
    kinds = settings if isinstance(settings, tuple) else (settings,)
    told = {name: each for kind in kinds for name, each in kind.__annotations__.items()}
    fields = {f.name: f.type for f in dataclasses.fields(options) if f.name not in apart}
    assert {name: each.__forward_arg__ for name, each in told.items()} == fields


def test_options_name_their_fields() -> None:
    with pytest.raises(TypeError, match=r"LearnOptions: wanted arguments among .*lr.*got 'lrr'"):
        LearnOptions(lrr=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"LearnOptions: .* got 'stepz' \(did you mean steps\?\)"):
        QUICK.replace(stepz=1)


def test_learner_names_what_learn_takes() -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(TypeError, match=r"learn: .*labels, labelled, .*lambdas.* got 'lambda_'"):
        learner.learn(PIXELS, LABELS, lambda_=(1, 1, 1))  # type: ignore[call-arg]
    parameters = inspect.signature(learner.learn).parameters
    assert parameters["batch_size"].default == 64
    assert parameters["lambdas"].default == (1.0, 10.0, 1.0)
    assert not [p for p in parameters.values() if p.kind is p.VAR_KEYWORD]
    assert "self" not in parameters


def test_memory_bytes_was_called_memory() -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.warns(DeprecationWarning, match="memory is called memory_bytes now"):
        assert learner.memory(8, training=False) == learner.memory_bytes(8, False)


@pytest.mark.parametrize("flag_of_before", [True, np.True_])
def test_learn_took_a_flag_for_labels(flag_of_before: Any) -> None:
    carried = [(image, int(label)) for image, label in zip(PIXELS, LABELS, strict=True)]
    old, new = EdgeLearner(tiny_student()), EdgeLearner(tiny_student())
    with pytest.warns(DeprecationWarning, match="labelled=True now, not labels=True"):
        old.learn(carried, flag_of_before, options=QUICK)
    new.learn(carried, labelled=True, options=QUICK)
    assert np.array_equal(old.logits(PIXELS), new.logits(PIXELS))
    assert not np.array_equal(old.logits(PIXELS), EdgeLearner(tiny_student()).logits(PIXELS))


def test_learn_without_labels_was_a_flag_too() -> None:
    learner = EdgeLearner(tiny_student())
    with (
        pytest.warns(DeprecationWarning, match="labelled=True now"),
        pytest.raises(ValueError, match="wanted labels, knowledge, or both"),
    ):
        learner.learn(PIXELS, False, options=QUICK)


def test_learn_refuses_labels_beside_those_that_images_carry() -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match="labelled: wanted False if labels are given, got True"):
        learner.learn(PIXELS, LABELS, labelled=True)
    with pytest.raises(TypeError, match="learn: labelled: wanted True or False, got 'yes'"):
        learner.learn(PIXELS, labelled="yes")  # type: ignore[arg-type]


def test_memory_add_took_a_learner_by_that_name(tmp_path: Path) -> None:
    old, new, third = pyedge.Memory(3), pyedge.Memory(3), pyedge.Memory(3)
    with pytest.warns(DeprecationWarning, match=r"Memory\.add: learner is called student now"):
        old.add(learner=tiny_student(), images=PIXELS, labels=LABELS)
    new.add(EdgeLearner(tiny_student()), PIXELS, LABELS)
    pyedge.write_student(tiny_student(), tmp_path / "s.pyedge")
    third.add(tmp_path / "s.pyedge", PIXELS, LABELS)
    assert np.array_equal(old.images, new.images)
    assert np.array_equal(old.images, third.images)
    assert old.classes == tuple(sorted(CLASSES))


def test_a_student_is_taken_in_each_of_its_forms(tmp_path: Path) -> None:
    pyedge.write_student(tiny_student(), tmp_path / "s.pyedge")
    forms = (tiny_student(), tmp_path / "s.pyedge", EdgeLearner(tiny_student()))
    found = [pyedge.add_statistics(each, PIXELS, LABELS).statistics for each in forms]
    made = [
        pyedge.make_category(each, PIXELS[LABELS == 1], "mug", tmp_path / f"{i}.category")
        for i, each in enumerate(forms)
    ]
    for many in (found, made):
        for each in many[1:]:
            for name, array in each.arrays().items():
                assert np.array_equal(array, many[0].arrays()[name]), name
    for call in (pyedge.add_statistics, pyedge.Memory().add):
        with pytest.raises(TypeError, match=r"student: wanted a StudentFile, .* got an int"):
            call(3, PIXELS, LABELS)  # type: ignore[operator]


def test_files_were_written_path_first(tmp_path: Path) -> None:
    student = pyedge.add_statistics(tiny_student(), PIXELS, LABELS)
    for write, what in (
        (pyedge.write_student, student),
        (pyedge.write_statistics, student.statistics),
    ):
        write(what, tmp_path / "new")
        with pytest.warns(DeprecationWarning, match="comes before path now"):
            write(str(tmp_path / "old"), what)
        assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()
    with pytest.warns(DeprecationWarning, match="statistics comes before path now"):
        pyedge.write_statistics(tmp_path / "third", statistics=student.statistics)
    assert (tmp_path / "third").read_bytes() == (tmp_path / "new").read_bytes()
    with pytest.raises(TypeError, match="write_student: student: wanted a StudentFile, got a str"):
        pyedge.write_student("a", tmp_path / "b")  # type: ignore[arg-type]


def test_merge_statistics_took_many() -> None:
    one = pyedge.add_statistics(tiny_student(), PIXELS[:24], LABELS[:24]).statistics
    two = pyedge.add_statistics(tiny_student(), PIXELS[24:], LABELS[24:]).statistics
    with pytest.warns(DeprecationWarning, match="many is called statistics now"):
        old = pyedge.merge_statistics(many=[one, two])
    new = pyedge.merge_statistics([one, two])
    assert all(np.array_equal(array, old.arrays()[n]) for n, array in new.arrays().items())
