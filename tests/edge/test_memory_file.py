"""Memory files: what was saved is read, and whatever is damaged or foreign is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyedge import FormatError, Memory, read_memory
from pyedge.files.npy_archive import write_archive
from pyedge.student.archive import write_student
from tests.support.edge_student import images, tiny_student

quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memories") / "kept.memory"
    memory = Memory(per_class=3, max_bytes=5000, seed=7)
    memory.add(tiny_student(), *images(30))
    memory.save(path)
    return path


def same(one: Memory, other: Memory) -> bool:
    names = ("per_class", "choose", "max_bytes", "seed", "classes", "counts", "seen", "dtype")
    return all(getattr(one, name) == getattr(other, name) for name in names) and np.array_equal(
        one.images, other.images
    )


def test_memory_file_reads_as_it_was_saved(saved: Path, tmp_path: Path) -> None:
    memory = read_memory(saved)
    assert memory.counts == {"high": 3, "low": 3, "middle": 3}
    assert memory.seen == {"high": 10, "low": 10, "middle": 10}
    memory.save(tmp_path / "again.memory")
    assert (tmp_path / "again.memory").read_bytes() == saved.read_bytes()
    memory.add(tiny_student(), *images(30, seed=4))  # and goes on
    assert memory.seen["low"] == 20
    Memory(choose="random").save(tmp_path / "empty.memory")
    assert same(read_memory(tmp_path / "empty.memory"), Memory(choose="random"))
    with np.load(saved) as arrays:  # anybody can open it
        assert arrays["images"].shape == (9, 1, 8, 8)


def test_memory_file_is_written_whole_or_not_at_all(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.memory"
    path.write_bytes(saved.read_bytes())

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        Memory().save(path)
    assert path.read_bytes() == saved.read_bytes()


def test_memory_file_every_truncation_is_a_format_error(saved: Path, tmp_path: Path) -> None:
    whole, part = saved.read_bytes(), tmp_path / "part.memory"
    for length in sorted({*range(0, len(whole), 41), 1, 2, len(whole) - 1}):
        part.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"part\.memory"):
            read_memory(part)


@quick
@given(data=st.data())
def test_memory_file_altered_bytes_never_give_another_memory(
    data: st.DataObject, saved: Path, tmp_path: Path
) -> None:
    whole = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "altered.memory").write_bytes(whole)
    try:
        memory = read_memory(tmp_path / "altered.memory")
    except FormatError:
        return
    assert same(memory, read_memory(saved))


def _set(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


def _class(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["classes"][1].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(format="pyedge-student"), "not a memory of pyedge"),
        (_set(version=2), "a memory of version 2"),
        (_set(version=True), "a memory of version True"),
        (_set(extra=1), "holds an unknown 'extra'"),
        (lambda d: d.pop("seed"), "lacks 'seed'"),
        (_set(per_class=0), "per_class: wanted a whole number from 1"),
        (_set(per_class=2), "keeps more than per_class=2"),
        (_set(max_bytes=575), "keeps more than max_bytes=575"),
        (_set(choose="best"), "choose: wanted"),
        (_set(choose=["herding"]), "choose: wanted"),
        (_set(seed=-1), "seed: wanted a whole number from 0"),
        (_set(classes={}), "classes: .*list"),
        (_class(name="high"), "classes: .*different"),
        (_class(name="zebra"), "classes: .*in their order"),
        (_class(name=""), "class 1: .*is empty"),
        (_class(name=4), "class 1: .*got 4"),
        (_class(images=0), "from 1 image up"),
        (_class(images=True), "from 1 image up"),
        (_class(seen=2), "from 1 image up"),
        (_class(images=4), "images: .*10, .*9"),
        (_class(more=4), "class 1: .*'more'"),
        (_set(images={"dtype": "float64", "shape": [9, 1, 8, 8]}), "uint8 or float32"),
        (_set(images={"dtype": "uint8", "shape": [9, 64]}), "uint8 or float32"),
        (_set(images={"dtype": "uint8", "shape": [9, 1, 8, 1 << 30]}), "has not the size"),
        (_set(images=None), "uint8 or float32"),
    ],
)
def test_memory_file_that_does_not_fit_together_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str, saved: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(saved) as archive:
        document = json.loads(archive.read("graph.json"))
    change(document)
    with np.load(saved) as arrays:
        write_archive(tmp_path / "bad.memory", document, {"images": arrays["images"]})
    with pytest.raises(FormatError, match=message):
        read_memory(tmp_path / "bad.memory")


def test_memory_file_of_nan_or_another_kind_is_refused(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        document = json.loads(archive.read("graph.json"))
    document["max_bytes"] = None
    document["images"]["dtype"] = "float32"
    bad = np.zeros((9, 1, 8, 8), np.float32)
    bad[4] = np.nan
    write_archive(tmp_path / "nan.memory", document, {"images": bad})
    with pytest.raises(FormatError, match="NaN or infinity"):
        read_memory(tmp_path / "nan.memory")
    write_student(tiny_student(), tmp_path / "student.pyedge")
    with pytest.raises(FormatError, match="not a memory of pyedge"):
        read_memory(tmp_path / "student.pyedge")
    with pytest.raises(TypeError, match="path: wanted a file's path, got an int"):
        read_memory(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        read_memory(tmp_path / "nowhere.memory")
