"""Damaged and foreign student files: each is refused, with what is wrong with it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyedge.errors import FormatError
from pyedge.student.archive import read_student, write_student
from tests.support.archive_members import members_of, npy, pack
from tests.support.student_files import every_operator, same

STUDENT = every_operator()
quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("students") / "student.pyedge"
    write_student(STUDENT, path)
    return path


# Damage


def test_student_file_every_truncation_is_a_format_error(saved: Path, tmp_path: Path) -> None:
    whole, part = saved.read_bytes(), tmp_path / "part.pyedge"
    for length in sorted({*range(0, len(whole), 61), 1, 2, 3, 4, len(whole) - 1, len(whole) - 2}):
        part.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"part\.pyedge"):
            read_student(part)


@settings(quick, max_examples=200)
@given(data=st.data())
def test_student_file_altered_bytes_never_give_another_student(
    data: st.DataObject, saved: Path, tmp_path: Path
) -> None:
    whole = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.sampled_from(["flip", "insert", "remove"]))
        if change == "flip":
            whole[place] ^= data.draw(st.integers(1, 255))
        elif change == "insert":
            whole[place:place] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            del whole[place : place + data.draw(st.integers(1, 9))]
    altered = tmp_path / "altered.pyedge"
    altered.write_bytes(whole)
    try:
        student = read_student(altered)
    except FormatError:
        return
    assert same(student, STUDENT)  # the bytes were ones that mean nothing, such as a date


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)])
def test_student_file_foreign_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pyedge"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"foreign\.pyedge: not a student"):
        read_student(path)


def test_student_file_missing_file_and_folder_are_os_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_student(tmp_path / "none.pyedge")
    with pytest.raises(IsADirectoryError):
        read_student(tmp_path)


def test_student_file_zip_bombs_are_refused(saved: Path, tmp_path: Path) -> None:
    members = members_of(saved)
    packed = pack(tmp_path / "packed.pyedge", members, zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError, match=r"'graph.json': .*compressed or encrypted"):
        read_student(packed)
    # every member's entry points at the same bytes: the sizes add up to more than the file
    bomb = tmp_path / "bomb.pyedge"
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("graph.json", bytes(100_000))
        first = archive.filelist[0]
        for i in range(50):
            twin = zipfile.ZipInfo(f"{i}.npy")
            twin.CRC, twin.file_size, twin.compress_size = first.CRC, 100_000, 100_000
            twin.header_offset = first.header_offset
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    with pytest.raises(FormatError, match="larger than the file"):
        read_student(bomb)


def test_student_file_member_that_stands_twice_is_refused(saved: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice.pyedge"
    twice.write_bytes(saved.read_bytes())
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("arrays/s.w.npy", npy(np.zeros(1, np.float32)))
    with pytest.raises(FormatError, match=r"'arrays/s\.w\.npy' twice"):
        read_student(twice)


Change = Callable[[dict[str, bytes]], object]


def put(name: str, data: bytes | None) -> Change:
    return lambda members: members.pop(name) if data is None else members.update({name: data})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("graph.json", None), "no graph.json"),
        (put("graph.json", b"[]"), "graph.json: .*object"),
        (put("graph.json", b"{"), "cannot be read"),
        (put("graph.json", b'{"a": NaN}'), "NaN is not a number"),
        (put("graph.json", b'{"a": 1e999}'), "too large"),
        (put("graph.json", b'{"a": 1, "a": 2}'), "a key stands twice"),
        (put("graph.json", b'{"a": "\\ud800"}'), "cannot be read"),
        (put("graph.json", b"[" * 100_000), "cannot be read"),
        (put("graph.json", b'{"a": 1' + b"0" * 5000 + b"}"), "cannot be read"),
        (put("arrays/s.w.npy", None), r"lacks 'arrays/s\.w\.npy'"),
        (put("arrays/extra.npy", npy(np.zeros(1))), r"holds 'arrays/extra\.npy', which is unknown"),
        (put("notes.txt", b"hello"), "holds 'notes.txt', which is unknown"),
        (put("arrays/s.w.npy", b""), r"s\.w\.npy has not the size"),
        (put("arrays/s.w.npy", b"hello"), r"s\.w\.npy has no numpy header"),
        (
            put("arrays/s.w.npy", b"\x93NUMPY\x09\x00" + bytes(120)),
            r"s\.w\.npy has no numpy header",
        ),
        (put("arrays/s.w.npy", npy(np.zeros(2, np.float32))), r"float32 \[1\], got float32 \[2\]"),
        (put("arrays/s.w.npy", npy(np.zeros(1, np.int32))), "got int32"),
        (put("arrays/s.w.npy", npy(np.zeros(1, ">f4"))), "got >f4"),
        (put("arrays/s.w.npy", npy(np.zeros(1, np.float32))[:-1]), "has not the size"),
        (put("arrays/s.w.npy", npy(np.zeros(1, np.float32)) + b"x"), "has not the size"),
        (put("arrays/s.w.npy", npy(np.full(1, np.nan, np.float32))), "holds NaN or infinity"),
        (
            put("arrays/classifier.weight.npy", npy(np.zeros((3, 6), np.float32, order="F"))),
            "Fortran",
        ),
    ],
)
def test_student_file_bad_members_say_what_is_wrong(
    change: Change, message: str, saved: Path, tmp_path: Path
) -> None:
    members = members_of(saved)
    change(members)
    with pytest.raises(FormatError, match=rf"bad\.pyedge: .*{message}"):
        read_student(pack(tmp_path / "bad.pyedge", members))


class Harmful:
    """Would make a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_student_file_runs_no_code_of_a_foreign_file(saved: Path, tmp_path: Path) -> None:
    stream, trace = io.BytesIO(), tmp_path / "trace"
    np.save(stream, np.array([Harmful(trace)], object), allow_pickle=True)
    members = {**members_of(saved), "arrays/s.w.npy": stream.getvalue()}
    with pytest.raises(FormatError, match=r"s\.w\.npy"):
        read_student(pack(tmp_path / "bad.pyedge", members))
    assert not trace.exists()


# Descriptions that do not fit together


def document(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update({name: value})


def node(index: int, field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["nodes"][index].update({field: value})


def without(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def preprocessing(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["preprocessing"].update(changes)


HUGE = 10**400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (document("format", "pyedge-network"), "not a student of pyedge"),
        (document("version", 4), "version 4; .*versions 1 to 3"),
        (document("version", True), "version True"),
        (without("classes"), "lacks 'classes'"),
        (document("extra", 1), "holds an unknown 'extra'"),
        (document("nodes", []), "nodes: .*a list of 1 to"),
        (document("nodes", {}), "nodes: .*a list"),
        (document("nodes", [1]), "node 0: .*an object with an op"),
        (node(2, "name", ""), "node 2: name:"),
        (node(2, "name", "scale"), "two nodes have this name"),
        (node(2, "name", "a\nb"), "node 2: name:"),
        (node(4, "op", "tanh"), r"'relu' \('tanh'\): no operator"),
        (node(4, "slope", 0.1), "unknown field 'slope'"),
        (without("nodes", 2, "stride"), r"'stem' \('conv2d'\) lacks .* 'stride'"),
        (node(4, "op", "input"), "input as first node, got .*node 4"),
        (node(0, "op", "relu"), "inputs: wanted 1"),
        (node(4, "inputs", [4]), "inputs: .*1 number"),
        (node(4, "inputs", [-1]), "inputs: wanted"),
        (node(4, "inputs", [True]), "inputs: wanted"),
        (node(6, "inputs", [4]), "inputs: wanted 2"),
        (node(6, "inputs", [0, 5]), "inputs: .*one shape"),
        (node(2, "weight", "none"), "weight: .*an array, got 'none'"),
        (node(2, "weight", None), "weight: .*an array"),
        (node(2, "weight", "classifier.weight"), r"float32 of 4 dimension"),
        (node(2, "weight", "a.conv.weight"), "does not fit 1 channels"),
        (node(5, "bias", "bn.bias"), "is read elsewhere already"),
        (node(5, "groups", 3), "does not fit 4 channels"),
        (node(2, "stride", [0, 1]), "stride: .*two whole numbers from 1"),
        (node(2, "stride", [1]), "stride: .*two"),
        (node(2, "padding", [1, 1.0]), "padding: .*two"),
        (node(2, "dilation", [9, 9]), "window of 19 .*map of 8"),
        (node(2, "padding", [HUGE, 1]), "padding: .*two"),
        (node(2, "padding", [1 << 20, 1]), "padding: .*two whole numbers from 0 to 1024"),
        (node(3, "eps", 0), "eps: .*a number above 0"),
        (node(3, "bias", None), "bias: .*an array"),
        (node(3, "mean", "classifier.bias"), "mean: .*4 values, got 3"),
        (node(7, "padding", [2, 2]), "padding: .*at most half of kernel"),
        (node(8, "channels", 5), r"one shape, got \[5, 4, 3\]"),
        (node(8, "channels", 0), "channels: .*a whole number from 1"),
        (node(14, "inputs", [14]), "inputs: wanted"),
        (node(15, "inputs", [13]), "input: .*flattened"),
        (node(14, "inputs", [12]), r"weight \[3, 6\] .*not fit 72 inputs"),
        (node(14, "op", "relu"), "input: .*flattened"),
        (document("input_shape", [1, 8]), "input_shape: wanted"),
        (document("input_shape", [1, 8, 1 << 16]), "input_shape: wanted"),
        (document("input_shape", [1, 1 << 15, 1 << 15]), "too large to be true"),
        (document("output", 14), "output: .*the classifier"),
        (document("output", 99), "output: .*the number of a node"),
        (document("classifier", "stem"), "output: .*the classifier"),
        (document("taps", [6]), "an entry for each group"),
        (document("taps", [6, 15]), "group 1: .*node .*map"),
        (document("taps", "ab"), "taps: .*a list of whole numbers"),
        (document("kept", [[0, 2, 3], [1, 2, 4, 5, 7, 11]]), "group 0: .*4 channels"),
        (document("kept", [[0, 2, 2, 7], [1, 2, 4, 5, 7, 11]]), "group 0: .*strictly"),
        (document("kept", [[0, 2, 3, HUGE], []]), "channels of the teacher, whole numbers"),
        (document("kept", [1, 2]), "list of lists"),
        (document("teacher_channels", [7, 12]), r"strictly within \[0, 7\)"),
        (document("last_convs", ["a.conv"]), "last_convs: .*2 groups, got 1"),
        (document("last_convs", ["a.conv", "bn"]), "'bn' is no node with conv2d"),
        (document("last_convs", ["a.conv", "a.conv"]), "last_convs: .*different"),
        (document("trainable", ["relu"]), "'relu' is no node with conv2d .*batch_norm"),
        (document("trainable", [["stem"]]), "list of names"),
        (document("classes", ["cat", "dog"]), "2 classes, but 3 logits"),
        (document("classes", ["cat", "cat", "mug"]), "classes: .*different"),
        (document("classes", ["cat", "dog", ""]), "classes: .*class 2"),
        (document("classes", ["cat", "dog", "a\x1b[31m"]), "classes: .*class 2"),
        (document("preprocessing", "image"), "kind, mean and deviation"),
        (preprocessing(kind="crop"), "kind: .*crop"),
        (preprocessing(mean=[]), "mean: .*1 numbers"),
        (preprocessing(mean=[HUGE]), "mean: .*numbers from -1e.06 to 1e6"),
        (preprocessing(deviation=[1e300]), "deviation: .*numbers from 1e-06 to 1e6"),
        (preprocessing(deviation=[0]), "deviation: .*numbers from 1e-06"),
        (preprocessing(kind="image"), "mean: .*0 numbers"),
        (document("optimizer", []), "values by name"),
        (document("optimizer", {"kind": ["sgd"]}), "a plain value"),
        (document("optimizer", {"lr": HUGE}), "a plain value"),
        (document("record", {}), "record: .*a list"),
        (document("record", [1]), "record: .*values by name"),
        (document("arrays", []), "arrays: .*an object"),
        (without("arrays", "s.w"), "weight: .*an array, got 's.w'"),
        (lambda c: c["arrays"].update(z={"dtype": "float32", "shape": []}), "'z' is read by no"),
        (lambda c: c["arrays"]["s.w"].update(dtype="object"), "'s.w': .*a known dtype"),
        (lambda c: c["arrays"]["s.w"].update(shape=[-1]), "'s.w': .*a known dtype"),
        (lambda c: c["state"]["steps"].update(shape=[1 << 30] * 8), "has not the size"),
        (lambda c: c["state"].update(steps=None), "state: 'steps': .*a known dtype"),
    ],
)
def test_student_file_that_does_not_fit_together_says_what_is_wrong(
    change: Callable[[dict[str, Any]], None], message: str, saved: Path, tmp_path: Path
) -> None:
    members = members_of(saved)
    content = json.loads(members["graph.json"])
    change(content)
    members["graph.json"] = json.dumps(content).encode()
    with pytest.raises(FormatError, match=rf"bad\.pyedge: .*({message})") as caught:
        read_student(pack(tmp_path / "bad.pyedge", members))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 1}, "kind, mean and deviation"),
        ({"colour": "rgb"}, "colour 'rgb'"),
        ({"colour": []}, "colour: wanted rgb or grey"),
        ({"resize": 5}, "resize: wanted a Resize or a dict"),
        ({"resize": {"size": 4}}, "wanted size, shorter"),
        ({"resize": {"size": 99, "shorter": 99}}, "got 99x99"),
        ({"resize": {"size": [8, 9], "shorter": 9}}, "got 8x9"),
        ({"resize": {"size": 8, "shorter": 8, "mode": "squish"}}, "mode: wanted center"),
        ({"resize": {"size": 8, "shorter": 8, "mode": "border", "fill": [HUGE]}}, "fill: wanted"),
        ({"resize": {"size": 1, "shorter": HUGE}}, "shorter: wanted"),
        ({"resize": {"size": 1, "shorter": 1, "interpolation": {}}}, "bilinear or"),
    ],
)
def test_student_file_with_damaged_sizes_says_what_is_wrong(
    changes: dict[str, Any], message: str, saved: Path, tmp_path: Path
) -> None:
    members = members_of(saved)
    content = json.loads(members["graph.json"])
    preprocessing(**changes)(content)
    members["graph.json"] = json.dumps(content).encode()
    with pytest.raises(FormatError, match=rf"bad\.pyedge: .*({message})"):
        read_student(pack(tmp_path / "bad.pyedge", members))
