"""Student files: what is written comes back to the bit, and what is not whole is refused."""

from __future__ import annotations

import builtins
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pyedge.edge.learner import EdgeLearner
from pyedge.errors import FormatError
from pyedge.knowledge.pack import Knowledge
from pyedge.student.archive import read_student, write_student
from pyedge.student.file import StudentFile
from tests.support.edge_student import tiny_student
from tests.support.student_files import every_operator, same

STUDENT = every_operator()
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
PLAIN = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e30, 1e30) | TEXT
quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("students") / "student.pyedge"
    write_student(STUDENT, path)
    return path


# Round trips


def test_student_file_comes_back_to_the_bit(saved: Path) -> None:
    assert same(read_student(saved), STUDENT)
    assert read_student(saved).structure_digest == STUDENT.structure_digest


@quick
@given(data=st.data())
def test_student_file_any_student_comes_back_to_the_bit(
    data: st.DataObject, tmp_path: Path
) -> None:
    floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
    arrays = dict(STUDENT.arrays)
    for name in ("stem.weight", "classifier.bias", "bn.bias"):
        arrays[name] = data.draw(npst.arrays(np.float32, arrays[name].shape, elements=floats))
    slots = npst.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ).filter(lambda a: a.dtype.kind != "f" or bool(np.isfinite(a).all()))
    student = dataclasses.replace(
        STUDENT,
        arrays=arrays,
        classes=tuple(data.draw(st.lists(TEXT, min_size=3, max_size=3, unique=True))),
        optimizer=data.draw(st.dictionaries(TEXT, PLAIN, max_size=3)),
        state=data.draw(st.dictionaries(TEXT.filter(str.isprintable), slots, max_size=3)),
        record=tuple(
            data.draw(st.lists(st.dictionaries(TEXT, PLAIN | st.lists(PLAIN)), max_size=2))
        ),
    )
    write_student(student, tmp_path / "a.pyedge")
    again = read_student(tmp_path / "a.pyedge")
    assert same(again, student)
    write_student(again, tmp_path / "b.pyedge")
    assert (tmp_path / "a.pyedge").read_bytes() == (tmp_path / "b.pyedge").read_bytes()


def test_student_file_opens_with_numpy_alone(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as opened:
        assert np.array_equal(opened["arrays/stem.weight"], STUDENT.arrays["stem.weight"])
        assert json.loads(opened["graph.json"])["format"] == "pyedge-student"


def test_student_file_arrays_are_read_only(saved: Path) -> None:
    student = read_student(saved)
    for array in (*student.arrays.values(), *student.state.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_student_file_is_read_without_torch(saved: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pyedge.student.archive import read_student\n"
        f"print(len(read_student({str(saved)!r}).layers()), 'pyedge.cloud' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "16 False\n"


def changed(array: str, value: Any) -> dict[str, Any]:
    fresh = STUDENT.arrays[array].copy()
    fresh.flat[0] = value
    return {"arrays": {**STUDENT.arrays, array: fresh}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (changed("bn.running_var", -1.0), "variance: .*got -1"),
        (changed("stem.weight", np.inf), "'stem.weight' holds NaN or infinity"),
        (changed("wide.position", -2), "position: .*from -1 to 5"),
        (changed("wide.position", 2), "two channels in one place"),
        ({"state": {"m": np.array([np.nan])}}, "'m' holds NaN or infinity"),
        ({"state": {"m": np.zeros(1, np.complex64)}}, "dtype complex64"),
        ({"state": {"": np.zeros(1)}}, "no name for an array"),
        ({"arrays": {**STUDENT.arrays, "s.w": np.zeros(1)}}, "float64"),
        ({"classes": ("cat",)}, "1 classes, but 3 logits"),
        ({"record": ({"a": object()},)}, "not JSON serializable"),
        ({"record": ({"a": float("nan")},)}, "not JSON compliant"),
    ],
)
def test_student_file_writes_only_what_it_would_read(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=rf"write_student: .*{message}"):
        write_student(dataclasses.replace(STUDENT, **changes), tmp_path / "s.pyedge")
    assert not list(tmp_path.iterdir())


# Writing


def test_student_file_failed_write_leaves_the_old_file_and_nothing_else(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "student.pyedge"
    path.write_bytes(saved.read_bytes())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_student(dataclasses.replace(STUDENT, classes=("x", "y", "z")), path)
    assert [each.name for each in tmp_path.iterdir()] == ["student.pyedge"]
    assert same(read_student(path), STUDENT)


def test_student_file_replaces_an_older_file(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "student.pyedge"
    path.write_bytes(saved.read_bytes())
    write_student(dataclasses.replace(STUDENT, classes=("x", "y", "z")), path)
    assert read_student(path).classes == ("x", "y", "z")
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# Digest and engine


def more_classes(student: StudentFile) -> StudentFile:
    arrays = dict(student.arrays)
    for name in ("classifier.weight", "classifier.bias"):
        arrays[name] = np.concatenate([arrays[name], arrays[name][:1]])
    return dataclasses.replace(student, arrays=arrays, classes=(*student.classes, "new"))


def test_student_file_digest_survives_learning_and_new_classes() -> None:
    digest = STUDENT.structure_digest
    learned = {name: a * 2 if a.dtype == np.float32 else a for name, a in STUDENT.arrays.items()}
    for other in (
        dataclasses.replace(STUDENT, arrays=learned),
        dataclasses.replace(STUDENT, trainable=(), state={}, optimizer={}, record=()),
        more_classes(STUDENT),
    ):
        assert other.structure_digest == digest


@pytest.mark.parametrize(
    "changes",
    [
        {"input_shape": (1, 8, 8)},
        {"kept": (np.array([0, 2, 3, 6]), STUDENT.kept[1])},
        {"teacher_channels": (9, 12)},
        {"taps": (5, 12)},
        changed("wide.position", 1),
        {"nodes": tuple({**n, "eps": 1e-3} if "eps" in n else n for n in STUDENT.nodes)},
    ],
)
def test_student_file_digest_tells_other_structures_apart(changes: dict[str, Any]) -> None:
    assert dataclasses.replace(STUDENT, **changes).structure_digest != STUDENT.structure_digest


def test_student_file_engine_is_ready_to_predict_and_to_learn(saved: Path) -> None:
    engine = read_student(saved).engine()
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 6)).astype(np.uint8)
    logits = engine.predict(images)
    assert logits.shape == (5, 3)
    # (x / 255 - 0.5) / 0.25: the file's preprocessing is in force
    plain = ((images / np.float32(255) - np.float32(0.5)) / np.float32(0.25)).astype(np.float32)
    np.testing.assert_allclose(engine.predict(plain), logits, rtol=1e-4, atol=1e-4)
    engine.step(images, np.arange(5), labels=np.arange(5) % 3)
    assert engine.gradient("b.conv.weight").shape == (6, 4, 1, 1)
    with pytest.raises((ValueError, KeyError)):
        engine.gradient("stem.weight")


def test_student_file_reader_opens_nothing_but_its_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real = builtins.open

    def watch(path: Any, *args: Any, **options: Any) -> Any:
        opened.append(str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(builtins, "open", watch)
    read_student(saved)
    assert opened == [str(saved)]


@pytest.mark.parametrize("path", [None, 3, "a\0b"])
def test_student_file_paths_that_are_none_are_named(path: Any) -> None:
    error = ValueError if isinstance(path, str) else TypeError
    with pytest.raises(error, match="read_student: path"):
        read_student(path)
    with pytest.raises(error, match="save: path"):
        EdgeLearner(tiny_student()).save(path)
    with pytest.raises(FileNotFoundError if isinstance(path, str) else TypeError):
        Knowledge(path)
