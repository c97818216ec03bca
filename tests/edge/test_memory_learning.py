"""Learning with a memory: balanced batches, the same bits ever again, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge import EdgeLearner, FormatError, LearnOptions, Memory, StudentFile
from pyedge.edge.batches import Batches
from pyedge.edge.replay import Replay
from pyedge.edge.run import Run
from pyedge.images.edge_images import EdgeImages
from tests.support.edge_student import CLASSES, changed, images, tiny_student

PIXELS, LABELS = images(90)
NEW = LABELS == 2
OPTIONS = LearnOptions(
    epochs=2, batch_size=12, lr=0.1, progress=False, checkpoint_every=2, batch_norm="batch"
)


def taught() -> StudentFile:
    """A student that knows the first two classes."""
    learner = EdgeLearner(tiny_student())
    learner.learn(PIXELS[~NEW], LABELS[~NEW], epochs=8, batch_size=16, lr=0.1, progress=False)
    return learner.student


@pytest.fixture(scope="module")
def student() -> StudentFile:
    return taught()


@pytest.fixture(scope="module")
def memory(student: StudentFile) -> Memory:
    found = Memory(per_class=6)
    found.add(student, PIXELS[~NEW], LABELS[~NEW])
    return found


def replay(old: list[int], new: list[int]) -> Replay:
    """A memory of classes `old` beside new images of classes `new`, one entry an image."""
    pixels = np.zeros((len(old), 1, 8, 8), np.uint8)
    labels = np.array(new, np.int64)
    rows = np.arange(len(new))
    return Replay.of(EdgeImages(pixels, False), np.array(old, np.int64), labels, rows)


def classes_in_batches(found: Replay, size: int, **more: Any) -> list[list[int]]:
    """How many images of each class stand in each batch of an epoch."""
    rows = np.arange(len(found.new_labels))
    batches = Batches(rows, size, seed=3, replay=found, **more)
    order = batches.epoch(0)
    counted = []
    for index in range(len(batches)):
        batch = batches.batch(order, 0, index)
        assert batch.remembered is not None
        labels = np.concatenate([found.new_labels[batch.rows], found.labels[batch.remembered]])
        counted.append(np.bincount(labels, minlength=4).tolist())
    return counted


def test_replay_gives_every_class_an_equal_share() -> None:
    found = replay([0] * 5 + [1] * 9 + [2] * 2, [3] * 40)
    assert classes_in_batches(found, 16) == [[4, 4, 4, 4]] * 10
    for counts in classes_in_batches(found, 18):
        assert sum(counts) == 18
        assert max(counts) - min(counts) <= 1


def test_replay_takes_every_new_image_once_an_epoch_and_all_of_a_class_before_one_twice() -> None:
    found = replay([0] * 5 + [1] * 9, [2] * 30)
    batches = Batches(np.arange(30), 12, seed=0, replay=found)
    order = batches.epoch(1)
    drawn = [batches.batch(order, 1, i) for i in range(len(batches))]
    assert sorted(np.concatenate([each.rows for each in drawn])) == list(range(30))
    for each in drawn:
        places = each.remembered
        assert places is not None
        assert len(places) == 12 - len(each.rows)
        assert len(set(places[places >= 5])) == len(places[places >= 5])
    others = Batches(np.arange(30), 12, seed=1, replay=found)
    assert not np.array_equal(others.batch(order, 1, 0).remembered, drawn[0].remembered)


def test_replay_of_few_new_images_still_gives_their_class_its_share() -> None:
    assert classes_in_batches(replay([0] * 6 + [1] * 6 + [2] * 6, [3]), 16) == [[4, 4, 4, 4]]


def test_replay_shares_a_class_by_how_many_images_each_side_has() -> None:
    found = replay([0] * 10 + [1] * 10, [1] * 30)
    assert found.share == pytest.approx((0 + 30 / 40) / 2)
    assert all(abs(c[0] - c[1]) <= 1 for c in classes_in_batches(found, 16))
    # where the memory has what is rare among the new images, it makes up for it
    uneven = replay([0] * 10 + [1] * 10, [0] * 57 + [1] * 3)
    for counts in classes_in_batches(uneven, 20):
        assert counts[1] >= 3


def test_replay_of_more_classes_than_a_batch_holds_takes_turns() -> None:
    found = replay(list(range(40)), [41] * 8)
    batches = Batches(np.arange(8), 5, seed=0, replay=found)
    assert found.new_in(5) == 1
    seen = {
        int(label)
        for epoch in range(20)
        for i in range(len(batches))
        for label in found.labels[batches.batch(batches.epoch(epoch), epoch, i).remembered]
    }
    assert seen == set(range(40))


def test_replay_swaps_an_answer_that_was_wrong() -> None:
    found = replay([0, 1, 2], [3])
    answers = np.array([[3, 1, 2], [5, 4, 1], [0, 1, 2]], np.float32)
    fixed = found.with_answers(answers).answers
    assert fixed is not None
    assert fixed.tolist() == [[3, 1, 2], [4, 5, 1], [0, 1, 2]]


def accuracy(learner: EdgeLearner, old: bool) -> float:
    pixels, labels = images(90, seed=9)
    mine = (labels == 2) != old
    return learner.evaluate(pixels[mine], labels[mine]).accuracy


def test_edge_learn_with_a_memory_forgets_less(student: StudentFile, memory: Memory) -> None:
    found = {}
    for name, kept in (("alone", None), ("memory", memory)):
        learner = EdgeLearner(student)
        result = learner.learn(
            PIXELS[NEW], LABELS[NEW], memory=kept, steps=40, batch_size=12, lr=0.05, progress=False
        )
        found[name] = accuracy(learner, old=True), accuracy(learner, old=False)
        assert result.batch_size == 12
    assert found["alone"][0] < 0.3
    assert found["memory"][0] > 0.9
    assert found["memory"][1] > 0.9
    assert learner.student.record[-1]["memory"] == 12


def test_edge_learn_takes_a_memory_file_and_either_layout(
    student: StudentFile, memory: Memory, tmp_path: Path
) -> None:
    memory.save(tmp_path / "kept.memory")
    last = np.ascontiguousarray(PIXELS[NEW].transpose(0, 2, 3, 1))
    learned = []
    for given, kept in ((PIXELS[NEW], memory), (last, str(tmp_path / "kept.memory"))):
        learner = EdgeLearner(student)
        learner.learn(given, LABELS[NEW], memory=kept, options=OPTIONS, flip=True, crop_padding=1)
        learned.append(learner.student)
    assert not changed(*learned)
    assert "head.weight" in changed(student, learned[0])


def test_edge_learn_with_a_memory_has_the_same_bits_on_any_number_of_threads(
    student: StudentFile, memory: Memory
) -> None:
    learned = []
    for threads in (1, 2, 3):
        learner = EdgeLearner(student, threads=threads)
        learner.learn(PIXELS[NEW], LABELS[NEW], memory=memory, options=OPTIONS, val=0.2)
        learned.append(learner.student)
    assert not changed(learned[0], learned[1])
    assert not changed(learned[0], learned[2])


class CutError(Exception):
    """The process dies here."""


@pytest.mark.parametrize("at", [0, 1, 2, 5, 8])
def test_edge_run_with_a_memory_that_is_cut_resumes_to_the_same_bits(
    at: int,
    student: StudentFile,
    memory: Memory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def learned(resume: bool) -> bytes:
        learner = EdgeLearner(student)
        learner.learn(
            *(PIXELS[NEW], LABELS[NEW]),
            memory=memory,
            options=OPTIONS,
            checkpoint=tmp_path / f"{resume}.checkpoint",
            resume=resume,
            val=0.2,
        )
        learner.save(tmp_path / "out.pyedge")
        return (tmp_path / "out.pyedge").read_bytes()

    whole = learned(False)
    real, calls = Run._step, iter(range(1000))

    def step(run: Run) -> None:
        if next(calls) == at:
            raise CutError
        real(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", step)
        with pytest.raises(CutError):
            learned(True)
    assert learned(True) == whole


def test_edge_checkpoint_of_another_memory_is_refused(
    student: StudentFile, memory: Memory, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"options": OPTIONS, "checkpoint": tmp_path / "run.checkpoint"}
    EdgeLearner(student).learn(PIXELS[NEW], LABELS[NEW], memory=memory, **how)
    other = Memory(per_class=5)
    other.add(student, PIXELS[~NEW], LABELS[~NEW])
    for kept in (other, None):
        with pytest.raises(FormatError, match="another run: memory is"):
            EdgeLearner(student).learn(PIXELS[NEW], LABELS[NEW], memory=kept, **how, resume=True)
    before = EdgeLearner(student)
    before.learn(PIXELS[NEW], LABELS[NEW], memory=memory, **how, resume=True)  # and this is it


def test_edge_learn_without_a_memory_says_nothing_of_one(student: StudentFile) -> None:
    learner = EdgeLearner(student)
    learner.learn(PIXELS, LABELS, options=OPTIONS)
    assert "memory" not in learner.student.record[-1]


def filled(student: StudentFile, **add: Any) -> Memory:
    memory = Memory(per_class=2)
    memory.add(student, **{"images": PIXELS, "labels": LABELS, **add})
    return memory


def wide(student: StudentFile) -> StudentFile:
    return dataclasses.replace(student, input_shape=(1, 10, 10))


@pytest.mark.filterwarnings("ignore:.*four times")
@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        ("kind", TypeError, "memory: wanted a Memory, or the path of one, got ndarray"),
        ("empty", ValueError, "memory: wanted at least one image, got none"),
        ("class", ValueError, "images of mug; it knows low, middle, high; add_classes adds"),
        ("shape", ValueError, r"memory has images of \[1, 10, 10\] c h w"),
        ("dtype", TypeError, "memory has float32 images, and images are uint8"),
        ("batch", ValueError, "memory needs 2 images in a batch"),
        ("absent", FileNotFoundError, "nowhere"),
        ("file", FormatError, "not a memory of pyedge"),
    ],
)
def test_edge_learn_refuses_a_memory_and_stays_as_it_was(
    case: str, error: type[Exception], message: str, student: StudentFile, tmp_path: Path
) -> None:
    grown = EdgeLearner(student)
    grown.add_classes(["mug"])
    (tmp_path / "file").write_bytes(b"nothing of the kind")
    kept: Any = {
        "kind": lambda: PIXELS,
        "empty": Memory,
        "class": lambda: filled(grown.student, labels=["mug"] * len(PIXELS)),
        "shape": lambda: filled(wide(student), images=np.zeros((90, 1, 10, 10), np.uint8)),
        "dtype": lambda: filled(student, images=(PIXELS / 64.0 - 1.5).astype(np.float32)),
        "batch": lambda: filled(student),
        "absent": lambda: tmp_path / "nowhere",
        "file": lambda: tmp_path / "file",
    }[case]()
    learner = EdgeLearner(student)
    more = {"batch_size": 1, "batch_norm": "frozen"} if case == "batch" else {}
    with pytest.raises(error, match=message):
        learner.learn(PIXELS[NEW], LABELS[NEW], memory=kept, options=OPTIONS, **more)
    assert not changed(student, learner.student)


def test_edge_learn_that_diverges_with_a_memory_changes_nothing(
    student: StudentFile, memory: Memory
) -> None:
    learner = EdgeLearner(student)
    before = memory.images
    with pytest.raises(ArithmeticError, match="was not finite"):
        learner.learn(
            PIXELS[NEW], LABELS[NEW], memory=memory, lr=1e30, steps=9, batch_size=12, clip=None
        )
    assert not changed(student, learner.student)
    np.testing.assert_array_equal(memory.images, before)


def test_edge_memory_limits_smaller_batches_have_both_kinds(
    student: StudentFile, memory: Memory
) -> None:
    limit = EdgeLearner(student).memory_bytes(5)
    learner = EdgeLearner(student, max_memory=limit)
    with pytest.warns(UserWarning, match="smaller batches"):
        result = learner.learn(
            PIXELS[NEW], LABELS[NEW], memory=memory, steps=3, batch_size=12, progress=False
        )
    # one image more may fit into what the plan of five leaves free
    assert 2 <= result.batch_size < 12
    assert learner.memory_bytes(result.batch_size) <= limit
    assert learner.classes == CLASSES
