"""Checkpoints on the device: a run that is cut off anywhere ends in the bits of a whole one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge import kernels
from pyedge.edge.checkpoint import read_checkpoint
from pyedge.edge.learn_options import LearnOptions
from pyedge.edge.learner import EdgeLearner
from pyedge.edge.run import Run
from pyedge.errors import FormatError
from tests.support.edge_student import changed, images, tiny_student

OPTIONS = LearnOptions(
    epochs=4, batch_size=16, lr=0.1, progress=False, checkpoint_every=2, batch_norm="batch"
)
STEPS = 12
CASES: dict[str, dict[str, Any]] = {
    "epochs": {},
    "adam": {"optimizer": "adam", "lr": 0.01, "crop_padding": 1, "flip": True},
    "eval_every": {"eval_every": 5, "val": images(seed=2)},
    "patience": {"eval_every": 1, "patience": 3, "val": images(6, seed=3)},
    "short": {"steps": 10, "val": 0.25},
    "last": {"keep_best": False, "val": images(seed=2), "momentum": 0.0},
}


class CutError(Exception):
    """The process dies here."""


def learned(folder: Path, name: str, case: dict[str, Any], resume: bool = False) -> bytes:
    """Learn from a fresh process's point of view, and return the bytes of the file."""
    learner = EdgeLearner(tiny_student())
    checkpoint = folder / f"{name}.checkpoint"
    learner.learn(*images(), options=OPTIONS, checkpoint=checkpoint, resume=resume, **case)
    learner.save(folder / f"{name}.pyedge")
    return (folder / f"{name}.pyedge").read_bytes()


def dying(patch: pytest.MonkeyPatch, owner: Any, name: str, at: int) -> None:
    """Let the call number `at` of a method raise instead."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(10**6))

    def method(*arguments: Any, **keywords: Any) -> Any:
        if next(calls) == at:
            raise CutError
        return real(*arguments, **keywords)

    patch.setattr(owner, name, method)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_edge_run_that_is_cut_at_any_step_resumes_to_the_same_bits(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learned(tmp_path, "whole", case)
    cuts = 0
    for at in range(STEPS):
        (tmp_path / "part.checkpoint").unlink(missing_ok=True)
        for resume, step in ((False, at), (True, 3)):  # cut, resumed, and cut again
            with monkeypatch.context() as patch:
                dying(patch, Run, "_step", step)
                try:
                    learned(tmp_path, "part", case, resume)
                except CutError:
                    cuts += 1
        assert learned(tmp_path, "part", case, resume=True) == whole, at
    assert cuts >= 5


def test_edge_checkpoint_cut_while_it_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learned(tmp_path, "whole", {})
    for at in range(3):
        (tmp_path / "part.checkpoint").unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            dying(patch, os, "replace", at)
            with pytest.raises(CutError):
                learned(tmp_path, "part", {})
        assert learned(tmp_path, "part", {}, resume=True) == whole


def test_edge_finished_run_resumes_without_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = {"val": images(seed=2)}
    whole = learned(tmp_path, "whole", case)
    dying(monkeypatch, Run, "_step", 0)
    assert learned(tmp_path, "whole", case, resume=True) == whole


def test_edge_student_that_was_saved_over_itself_is_not_taught_twice(tmp_path: Path) -> None:
    path, checkpoint = tmp_path / "student.pyedge", tmp_path / "run.checkpoint"
    EdgeLearner(tiny_student()).save(path)
    results = []
    for _ in range(2):  # killed between the save and the removal of the checkpoint
        learner = EdgeLearner(path)
        results.append(
            learner.learn(*images(), options=OPTIONS, checkpoint=checkpoint, resume=True)
        )
        learner.save(path)
    assert len(learner.student.record) == 1
    assert results[0] == results[1]
    with pytest.raises(FormatError, match=r"another run: lr is 0\.1 there"):
        learner.learn(*images(), options=OPTIONS, checkpoint=checkpoint, resume=True, lr=0.2)


def with_added_class() -> EdgeLearner:
    learner = EdgeLearner(tiny_student())
    learner.add_classes(["mug"])
    return learner


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": OPTIONS.replace(lr=0.05)}, "lr is 0.1 .*0.05 here"),
        ({"options": OPTIONS.replace(batch_size=8)}, "batch_size is 16 .*8 here"),
        ({"images": images(seed=5)[0]}, "images is"),
        ({"labels": images()[1][::-1].copy()}, "labels is"),
        ({"val": images(seed=5)}, "validation is none there"),
        ({"learner": EdgeLearner(tiny_student(seed=1))}, "weights is"),
        ({"learner": with_added_class()}, "classes is"),
    ],
)
def test_edge_checkpoint_of_another_run_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    learned(tmp_path, "run", {})
    learner = change.pop("learner", None) or EdgeLearner(tiny_student())
    student = learner.student
    pixels, labels = images()
    given = {"images": pixels, "labels": labels, "options": OPTIONS, **change}
    with pytest.raises(FormatError, match=f"another run: {message}"):
        learner.learn(**given, checkpoint=tmp_path / "run.checkpoint", resume=True)
    assert learner.student is student
    assert not changed(student, learner.student)


@pytest.mark.skipif(kernels.half_type() is None, reason="this path has no half precision")
def test_edge_checkpoint_of_another_precision_is_refused(tmp_path: Path) -> None:
    learned(tmp_path, "run", {})
    learner = EdgeLearner(tiny_student(), precision="half")
    given = {"options": OPTIONS, "checkpoint": tmp_path / "run.checkpoint", "resume": True}
    with pytest.raises(FormatError, match=r"another run: precision is .*half here"):
        learner.learn(*images(), **given)
    given["checkpoint"] = tmp_path / "half.checkpoint"
    learner.learn(*images(), **given)
    with pytest.raises(FormatError, match="another run: precision is half there"):
        EdgeLearner(tiny_student()).learn(*images(), **given)


def test_edge_checkpoint_may_be_gone_on_from_with_another_bar_and_pace(tmp_path: Path) -> None:
    whole = learned(tmp_path, "run", {})
    learner = EdgeLearner(tiny_student(), threads=2)
    learner.learn(
        *images(), options=OPTIONS, checkpoint=tmp_path / "run.checkpoint", resume=True,
        checkpoint_every=7, progress=True,
    )  # fmt: skip
    learner.save(tmp_path / "again.pyedge")
    assert (tmp_path / "again.pyedge").read_bytes() == whole


@pytest.mark.parametrize("damage", ["truncated", "altered", "foreign", "student"])
def test_edge_checkpoint_that_is_damaged_is_refused(damage: str, tmp_path: Path) -> None:
    learned(tmp_path, "run", {})
    path = tmp_path / "run.checkpoint"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "altered":
        place = content.index(b"now/head.weight.npy") + 200
        content[place] ^= 1
    elif damage == "foreign":
        content = bytearray(b"not a checkpoint")
    else:
        content = bytearray((tmp_path / "run.pyedge").read_bytes())
    path.write_bytes(content)
    learner = EdgeLearner(tiny_student())
    with pytest.raises(FormatError, match=r"run\.checkpoint: "):
        learner.learn(*images(), options=OPTIONS, checkpoint=path, resume=True)
    assert not changed(tiny_student(), learner.student)


def test_edge_checkpoint_on_a_full_disk_stops_the_run_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learned(tmp_path, "whole", {})
    learner = EdgeLearner(tiny_student())
    calls = iter(range(100))

    def fsync(descriptor: int) -> None:
        if next(calls) > 3:
            raise OSError(28, "No space left on device")

    path = tmp_path / "part.checkpoint"
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        with pytest.raises(OSError, match="No space left on device"):
            learner.learn(*images(), options=OPTIONS, checkpoint=path)
    now = learner._engine
    assert all(np.array_equal(v, now.array(n)) for n, v in tiny_student().arrays.items())
    assert read_checkpoint(path).state["step"] == 3
    assert {file.name for file in tmp_path.iterdir()} == {
        "part.checkpoint", "whole.checkpoint", "whole.pyedge"
    }  # fmt: skip
    assert learned(tmp_path, "part", {}, resume=True) == whole
