"""Classes of which a learner has no image, and what other devices have seen: numpy alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import pyedge
from pyedge.cli import main
from tests.support.edge_student import images, tiny_student
from tests.support.statistics_case import same

PIXELS, LABELS = images(count=120)
OLD = LABELS < 2


def known() -> pyedge.StudentFile:
    """The tiny student with statistics of two classes, and the third not among its classes."""
    learner = pyedge.EdgeLearner(
        pyedge.add_statistics(tiny_student(), PIXELS, LABELS, forgettable=True)
    )
    learner.forget("high")
    return learner.student


@pytest.mark.parametrize("detail", ["mean", "low_rank", "full"])
def test_add_category_learns_a_class_without_an_image(tmp_path: Path, detail: str) -> None:
    student, path = known(), tmp_path / "high.category"
    made = pyedge.make_category(student, PIXELS[~OLD], "high", path, detail=detail)
    learner = pyedge.EdgeLearner(student)
    assert learner.add_category(path) is None
    assert learner.classes == ("low", "middle", "high")
    found = learner.evaluate(PIXELS, LABELS)
    assert min(found.per_class) > 0.6
    assert learner.student.record[-1] == {
        "command": "add_category",
        "class": "high",
        "images": 40,
        "file": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    learner.forget(made)
    assert learner.classes == ("low", "middle")
    assert learner.statistics is not None
    assert student.statistics is not None
    assert same(learner.statistics, student.statistics)


def test_full_category_is_the_images_themselves(tmp_path: Path) -> None:
    student, path = known(), tmp_path / "high.category"
    pyedge.make_category(pyedge.EdgeLearner(student), PIXELS[~OLD], "high", path, detail="full")
    by_file, by_images = pyedge.EdgeLearner(student), pyedge.EdgeLearner(student)
    by_file.add_category(path)
    by_images.add_classes(["high"])
    by_images.learn(PIXELS[~OLD], LABELS[~OLD], method="statistics")
    np.testing.assert_array_equal(by_file.logits(PIXELS), by_images.logits(PIXELS))


def test_add_category_to_a_known_class_must_be_meant(tmp_path: Path) -> None:
    student, path = known(), tmp_path / "low.category"
    part = PIXELS[LABELS == 0][:10]
    pyedge.make_category(student, part, "low", path, detail="full")
    learner = pyedge.EdgeLearner(student)
    with pytest.raises(ValueError, match=r"'low' already, .*40 images; name='low'"):
        learner.add_category(path)
    assert learner.student.record == student.record
    learner.add_category(path, name="low")
    assert learner.statistics is not None
    assert learner.statistics.count("low") == 50
    learner.add_category(path, name="another")
    assert learner.classes[-1] == "another"


def test_add_category_describes_a_class_that_was_added_before(tmp_path: Path) -> None:
    student, path = known(), tmp_path / "high.category"
    pyedge.make_category(student, PIXELS[~OLD], "high", path)
    learner = pyedge.EdgeLearner(student)
    learner.add_classes(["high"])
    learner.add_category(path)
    assert learner.classes == ("low", "middle", "high")


def test_add_category_that_cannot_be_leaves_the_learner_as_it_was(tmp_path: Path) -> None:
    student, path = known(), tmp_path / "high.category"
    learner = pyedge.EdgeLearner(student)
    before = learner.logits(PIXELS)
    pyedge.make_category(tiny_student(seed=5), PIXELS[~OLD], "high", path)
    with pytest.raises(ValueError, match=r"high .*other features"):
        learner.add_category(path)
    with pytest.raises(ValueError, match=r"one class, got 2"):
        learner.add_category(student.statistics)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Statistics or a file, got an int"):
        learner.add_category(3)  # type: ignore[arg-type]
    made = pyedge.make_category(student, PIXELS[~OLD], "high", path)
    with pytest.raises(ValueError, match="add_category: class 0, 'bad"):
        learner.add_category(made, name="bad\n")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(pyedge.FormatError, match="truncated"):
        learner.add_category(path)
    assert learner.student.record == student.record
    np.testing.assert_array_equal(learner.logits(PIXELS), before)
    with pytest.raises(ValueError, match=r"add_category: .*no statistics"):
        pyedge.EdgeLearner(tiny_student()).add_category(made)


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        (PIXELS[:0], {}, "images: wanted at least one, got none"),
        ([(PIXELS[0], 0), (PIXELS[1], 1)], {}, "wanted images of one class, got 2"),
        (PIXELS, {"detail": "some"}, "detail: wanted .mean., .low_rank. or .full."),
        (PIXELS, {"rank": 3}, 'rank: wanted with detail="low_rank" alone, got 3'),
        (PIXELS, {"rank": 0, "detail": "low_rank"}, "rank: wanted a whole number from 1"),
        (PIXELS, {"name": "mug "}, "a blank at an end"),
        (np.full((2, 1, 8, 8), np.nan, np.float32), {}, "NaN"),
    ],
)
def test_make_category_says_what_is_wrong(
    tmp_path: Path, given: object, more: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {"name": "mug", **more}
    with pytest.raises(ValueError, match=message):
        pyedge.make_category(known(), given, path=tmp_path / "a", **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_make_category_of_stale_statistics_is_refused(tmp_path: Path) -> None:
    student = known()
    arrays = {name: a * 1.5 if "conv" in name or name.endswith("0.weight") else a
              for name, a in student.arrays.items()}  # fmt: skip
    stale = dataclasses.replace(student, arrays=arrays)
    with pytest.raises(ValueError, match=r"other features .*computes now"):
        pyedge.make_category(stale, PIXELS, "mug", tmp_path / "a")


def test_learners_send_what_they_have_seen_and_a_student_merges_it(tmp_path: Path) -> None:
    student = known()
    files = []
    for device in range(3):
        learner = pyedge.EdgeLearner(student)
        learner.add_classes(["high"])
        rows = np.flatnonzero(~OLD)[device::3]
        learner.learn(PIXELS[rows], LABELS[rows], method="statistics")
        assert learner.statistics is not None
        assert student.statistics is not None
        files.append(tmp_path / f"{device}.sums")
        mine = pyedge.subtract_statistics(learner.statistics, student.statistics)
        pyedge.write_statistics(mine, files[-1])
    cloud, central = pyedge.EdgeLearner(student), pyedge.EdgeLearner(student)
    assert cloud.merge(files[::-1]) == ("high",)
    central.add_classes(["high"])
    central.learn(PIXELS[~OLD], LABELS[~OLD], method="statistics")
    assert cloud.statistics is not None
    assert central.statistics is not None
    assert same(cloud.statistics, central.statistics)
    np.testing.assert_array_equal(cloud.logits(PIXELS), central.logits(PIXELS))
    with pytest.raises(ValueError, match=r"merge: statistics: .*got none"):
        cloud.merge([])
    with pytest.raises(TypeError, match="merge: statistics: wanted Statistics"):
        cloud.merge(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="subtract_statistics: nothing is known"):
        pyedge.subtract_statistics(student.statistics, cloud.statistics)  # type: ignore[arg-type]


def test_cli_category_from_images_to_a_taught_student_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pyedge.write_student(known(), "student.pyedge")
    np.save("high.npy", PIXELS[~OLD])

    def run(line: str) -> dict[str, object]:
        assert main([*line.split(), "--json"]) == 0
        return dict(json.loads(capsys.readouterr().out))

    made = run("category make student.pyedge high.npy --name high --out high.category")
    assert made["images"] == {"high": 40}
    told = run("category show high.category")
    assert told["detail"] == "mean"
    assert told["bytes"] == made["bytes"]
    added = run("category add student.pyedge high.category --out taught.pyedge")
    assert added["added"] == ["high"]
    sent = run("category sums taught.pyedge --since student.pyedge --out mine.sums")
    assert sent["images"] == {"high": 40}
    merged = run("category merge student.pyedge mine.sums --out all.pyedge")
    assert merged["classes"] == ["low", "middle", "high"]
    gone = run("category forget taught.pyedge high --out less.pyedge")
    assert gone["gone"] == ["high"]
    for line, message in (
        ("category", "missing: PART"),
        ("category turn", "invalid choice: 'turn'"),
        ("category add student.pyedge none.category --out a.pyedge", "no such file"),
        ("category add student.pyedge student.pyedge --out a.pyedge", "not a category file"),
        ("category forget student.pyedge mug --out a.pyedge", "nothing is known of mug"),
        ("category make student.pyedge high.npy --name a --rank 3 --out a.category", "low_rank"),
        ("category sums student.pyedge --since student.pyedge --out a.sums", "nothing since"),
    ):
        assert main(line.split()) in (1, 2)
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("a.*"))
