"""Student files with statistics, a head and weights made from a seed: read without trust."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyedge
from pyedge.errors import FormatError
from pyedge.student.archive import read_student, write_student
from pyedge.student.made_weights import made_weight
from tests.support.archive_members import members_of, npy, pack
from tests.support.edge_student import images, tiny_student
from tests.support.statistics_case import same

X, Y = images(60)
MADE = {"seed": 3, "stored": False}


@pytest.fixture(scope="module")
def student() -> pyedge.StudentFile:
    return pyedge.add_statistics(tiny_student(), X, Y, expand=12, seed=3)


@pytest.fixture
def saved(student: pyedge.StudentFile, tmp_path: Path) -> Path:
    path = tmp_path / "student.pyedge"
    write_student(student, path)
    return path


def test_file_with_statistics_comes_back_whole(student: pyedge.StudentFile, saved: Path) -> None:
    found = read_student(saved)
    assert found.statistics is not None
    assert student.statistics is not None
    assert same(found.statistics, student.statistics)
    assert found.head == student.head
    assert found.made == {"expand.weight": 3}
    assert np.array_equal(found.arrays["expand.weight"], student.arrays["expand.weight"])
    assert "arrays/expand.weight.npy" not in members_of(saved)


def test_file_without_is_of_version_1_which_older_pyedge_reads(tmp_path: Path) -> None:
    path = tmp_path / "plain.pyedge"
    write_student(tiny_student(), path)
    document = json.loads(members_of(path)["graph.json"])
    assert document["version"] == 1
    assert not {"statistics", "head", "made"} & document.keys()
    assert read_student(path).statistics is None


def test_made_weights_are_the_same_everywhere() -> None:
    whole = made_weight(7, 11, 4)
    assert np.array_equal(whole[:8], np.concatenate([np.eye(4), -np.eye(4)]))
    found = whole[8:]
    # of PCG64's raw stream, which numpy keeps
    assert found.ravel()[:4].tolist() == pytest.approx(
        [0.101923428, 0.694025457, 0.576363564, -0.527734220], rel=1e-6
    )
    many = made_weight(1, 600, 50)[100:]
    assert abs(float(many.mean())) < 2e-3
    assert float((many**2).sum(axis=1).mean()) == pytest.approx(1, abs=0.02)
    assert not np.array_equal(many, made_weight(2, 600, 50)[100:])
    with pytest.raises(ValueError, match="outputs: wanted at least 8, got 7"):
        made_weight(1, 7, 4)


def test_made_weights_that_have_learned_are_stored(
    student: pyedge.StudentFile, tmp_path: Path
) -> None:
    arrays = {**student.arrays, "expand.weight": student.arrays["expand.weight"] * 2}
    path = tmp_path / "learned.pyedge"
    write_student(dataclasses.replace(student, arrays=arrays), path)
    found = read_student(path)
    assert found.made == {"expand.weight": 3}
    assert found.structure_digest == student.structure_digest
    assert np.array_equal(found.arrays["expand.weight"], arrays["expand.weight"])


def _set(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("statistics", to=[]), "statistics: .*digest"),
        (_set("statistics", "digest", to="x"), "digest: .*64"),
        (_set("statistics", "step", to=0.3), "step: .*a power of two"),
        (_set("statistics", "step", to=1), "step: .*a power of two"),
        (_set("statistics", "classes", to=["a", "a", "b"]), "a stands twice|'a'|given twice|twice"),
        (_set("statistics", "arrays", "sums", "shape", to=[3, 11]), "statistics: .*got"),
        (_set("statistics", "arrays", "moments", "dtype", to="float64"), "moments: .*int64"),
        (_set("statistics", "arrays", "moments", "shape", to=[1 << 20, 78]), "moments and held"),
        (_set("head", to={"kind": "oracle"}), "head: kind: .*one of"),
        (_set("head", "shrinkage", to=2.0), "shrinkage: .*2.0"),
        (_set("head", "temperature", to=0.0), "temperature: .*a number above 0"),
        (_set("head", "temperatur", to=1.0), "head: .*temperatur"),
        (
            _set("made", to={"nothing": {"seed": 3, "stored": False}}),
            "made: 'nothing' is no float32 array",
        ),
        (
            _set("made", to={"head.weight": {"seed": 3, "stored": False}}),
            "no room .*input",
        ),
        (_set("made", "expand.weight", to=3), "seed and stored"),
        (_set("made", "expand.weight", "stored", to=1), "stored: .*true or false"),
        (_set("made", "expand.weight", "stored", to=True), "lacks 'arrays/expand.weight.npy'"),
        (_set("made", "expand.weight", "seed", to=-1), "a whole number from 0"),
        (_set("made", to={}), "lacks 'arrays/expand.weight.npy'"),
        (_set("version", to=1), "holds an unknown 'head'"),
    ],
)
def test_file_whose_statistics_do_not_fit_says_what_is_wrong(
    saved: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    members = members_of(saved)
    document = json.loads(members["graph.json"])
    change(document)
    members["graph.json"] = json.dumps(document).encode()
    with pytest.raises(FormatError, match=rf"bad\.pyedge: .*({message})"):
        read_student(pack(tmp_path / "bad.pyedge", members))


def _negative(array: np.ndarray) -> np.ndarray:
    return -array


def _zero(array: np.ndarray) -> np.ndarray:
    return array * 0


def _huge(array: np.ndarray) -> np.ndarray:
    return array * 0 + (1 << 61)


def _smaller(array: np.ndarray) -> np.ndarray:
    return array // 2


def _noise(array: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(0)
    return array + random.integers(-(1 << 42), 1 << 42, array.shape)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("counts", _zero, "counts: .*from 1"),
        ("described", _huge, "described: .*from 0"),
        ("groups", lambda a: a * 0 - 1, "groups: .*-1"),
        ("groups", _huge, "groups: .*the 1 rows"),
        ("sums", _huge, "sums are larger"),
        ("moments", _negative, "variance below 0"),
        ("moments", _smaller, "variance below 0|no covariance"),
        ("moments", _noise, "variance below 0|no covariance"),
        ("held_of", _huge, "held_of: .*numbers of 3 classes"),
        ("held", lambda a: (a * 0 + (1 << 30)).astype(np.int32), "held: .*within"),
    ],
)
def test_file_whose_sums_cannot_be_sums_is_refused(
    saved: Path,
    tmp_path: Path,
    student: pyedge.StudentFile,
    name: str,
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    members = members_of(saved)
    array = getattr(student.statistics, name)
    damaged = np.asarray(change(array), array.dtype)
    members[f"statistics/{name}.npy"] = npy(damaged)
    with pytest.raises(FormatError, match=rf"bad\.pyedge: .*({message})"):
        read_student(pack(tmp_path / "bad.pyedge", members))


def test_file_of_a_projection_too_large_to_be_true_takes_no_memory(
    saved: Path, tmp_path: Path
) -> None:
    members = members_of(saved)
    document = json.loads(members["graph.json"])
    document["arrays"]["expand.weight"]["shape"] = [1 << 20, 5]
    members["graph.json"] = json.dumps(document).encode()
    with pytest.raises(FormatError, match="bad"):
        read_student(pack(tmp_path / "bad.pyedge", members))
