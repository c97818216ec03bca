"""Network files: what is written comes back to the bit, and what is not whole is refused."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import pyedge
from pyedge import models
from pyedge.cloud.network_file import (
    NetworkInfo,
    StudentSettings,
    load_network,
    read_network,
    save_network,
)
from pyedge.student.archive import write_student
from tests.support.edge_student import tiny_student

INFO = NetworkInfo(
    builder="wrn",
    options={"depth": 10, "widths": [4, 6, 8], "stem": 4, "num_classes": 3, "in_channels": 1},
    classes=("cat", "dog", "mug"),
    input_shape=(1, 8, 8),
    split_seed=7,
    record=({"command": "train", "test_accuracy": 0.5},),
)


def teacher_of(info: NetworkInfo) -> nn.Module:
    torch.manual_seed(0)
    model = models.create(info.builder, **info.options)
    x = torch.randn(32, *info.input_shape)
    model.train()(x)  # running statistics that are not 0 and 1
    return model.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "teacher.pt"
    save_network(path, teacher_of(INFO), INFO)
    return path


def content_of(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("builder", "options", "shape"),
    [
        ("wrn_small", {"in_channels": 1, "num_classes": 3}, (1, 8, 8)),
        ("resnet20", {"num_classes": 3}, (3, 16, 16)),
        ("resnet18", {"num_classes": 3, "small_input": True, "width": 8}, (3, 16, 16)),
        ("vgg11_bn", {"num_classes": 3, "input_size": 32, "hidden": 16, "width": 8}, (3, 32, 32)),
    ],
)
@pytest.mark.parametrize("keep", ["first", "last"])
def test_network_file_gives_teacher_and_student_back_to_the_bit(
    builder: str, options: dict[str, Any], shape: tuple[int, int, int], keep: Any, tmp_path: Path
) -> None:
    info = dataclasses.replace(INFO, builder=builder, options=options, input_shape=shape)
    teacher = teacher_of(info)
    images = torch.randn(16, *shape, generator=torch.Generator().manual_seed(1))
    plan = pyedge.plan(teacher, 0.5, images, keep=keep, round_to=2)
    student = plan.build()
    assert student.params < models.count_parameters(teacher)
    for model, about in (
        (teacher, info),
        (student, dataclasses.replace(info, student=StudentSettings.of(plan, keep=keep))),
    ):
        save_network(tmp_path / "n.pt", model, about)
        again, told = load_network(tmp_path / "n.pt")
        assert told == about
        assert not again.training
        assert torch.equal(again(images), model(images))
    taps, expected = again.forward_taps(images)[1], student.forward_taps(images)[1]
    assert all(map(torch.equal, taps, expected))
    assert all(torch.equal(again.kept(g), student.kept(g)) for g in range(student.groups))


def test_network_file_leaves_the_random_state_alone(saved: Path) -> None:
    before = torch.get_rng_state()
    load_network(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_network_file_every_truncation_is_a_format_error(saved: Path, tmp_path: Path) -> None:
    whole, part = saved.read_bytes(), tmp_path / "part.pt"
    lengths = sorted({*range(0, len(whole), 97), 1, 2, 3, 4, len(whole) - 1, len(whole) - 2})
    for length in lengths:
        part.write_bytes(whole[:length])
        with pytest.raises(pyedge.FormatError, match=r"part\.pt"):
            load_network(part)


def test_network_file_whose_tensor_says_it_is_a_folder_is_refused(
    saved: Path, tmp_path: Path
) -> None:
    """torch would leave the tensor as memory happened to be."""
    whole = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        (member,) = (each for each in archive.infolist() if each.filename.endswith("data/0"))
    entry = whole.rindex(member.filename.encode()) - 46  # of the central directory
    assert whole[entry : entry + 4] == b"PK\x01\x02"
    whole[entry + 38] ^= 0x10
    altered = tmp_path / "altered.pt"
    altered.write_bytes(whole)
    with pytest.raises(pyedge.FormatError, match="data/0"):
        read_network(altered)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_network_file_altered_byte_never_loads_other_weights(
    data: st.DataObject, saved: Path, tmp_path: Path
) -> None:
    whole = bytearray(saved.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    altered = tmp_path / "altered.pt"
    altered.write_bytes(whole)
    try:
        info, state = read_network(altered)
    except pyedge.FormatError:
        return
    # the byte was one that means nothing, such as a date or padding of the archive
    told, expected = read_network(saved)
    assert info == told
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def without(name: str) -> Any:
    return lambda content: content.pop(name)


def with_value(name: str, value: Any) -> Any:
    return lambda content: content.update({name: value})


def with_weights(name: str, value: torch.Tensor | None) -> Any:
    def change(content: dict[str, Any]) -> None:
        if value is None:
            del content["state"][name]
        else:
            content["state"][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("format"), "not a network file"),
        (with_value("format", "pyedge-checkpoint"), "not a network file"),
        (with_value("version", 99), "version 99; this pyedge reads versions 1 and 2"),
        (without("classes"), "lacks classes"),
        (without("state"), "lacks state"),
        (without("cut"), "lacks cut"),
        (with_value("version", True), "version True; this pyedge reads"),
        (with_value("cut", {}), "cut has a value"),
        (with_value("classes", ["cat", "cat", "mug"]), "classes has a value"),
        (with_value("classes", ["cat", "dog"]), "logit for each .*2 classes"),
        (with_value("input_shape", [1, 8]), "input_shape has a value"),
        (with_value("input_shape", [3, 8, 8]), "not take .*3x8x8"),
        (with_value("input_shape", [1, 8, 10**9]), "input_shape has a value"),
        (with_value("preprocessing", "divide by 255"), "preprocessing is 'divide by 255'"),
        (with_value("builder", "wrn_of_mine"), "wrn_of_mine cannot be built"),
        (with_value("options", {"depth": 11}), "cannot be built"),
        (with_value("options", {"no_such": 1}), "cannot be built"),
        (with_value("options", {"depth": 10**9 + 4}), "too large to be true"),
        (with_value("options", {"depth": 10, "width": 60_000}), "too large to be true"),
        (with_value("student", {"widths": {"stem": 2}}), "student has a value"),
        (with_weights("stem.weight", torch.zeros(4, 1, 5, 5)), r"stem.weight: .*\[4, 1, 3"),
        (with_weights("stem.weight", torch.zeros(4, 1, 3, 3).double()), "float64"),
        (with_weights("stem.weight", None), "lacks stem.weight"),
        (with_weights("extra", torch.zeros(1)), "unknown extra"),
    ],
)
def test_network_file_that_does_not_fit_together_says_what_is_wrong(
    change: Any, message: str, saved: Path, tmp_path: Path
) -> None:
    content, bad = content_of(saved), tmp_path / "bad.pt"
    change(content)
    torch.save(content, bad)
    with pytest.raises(pyedge.FormatError, match=message):
        load_network(bad)


def test_network_file_student_with_widths_of_another_network(saved: Path, tmp_path: Path) -> None:
    content, bad = content_of(saved), tmp_path / "bad.pt"
    content["student"] = dataclasses.asdict(StudentSettings({"no.such.conv": 3}))
    torch.save(content, bad)
    with pytest.raises(pyedge.FormatError, match="student cannot be built again"):
        load_network(bad)


class Harmful:
    """Would make a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_network_file_runs_no_code_of_a_foreign_file(saved: Path, tmp_path: Path) -> None:
    bad, trace = tmp_path / "bad.pt", tmp_path / "trace"
    torch.save({**content_of(saved), "record": [Harmful(trace)]}, bad)
    with pytest.raises(pyedge.FormatError, match="not a network file"):
        load_network(bad)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", [1, 2], torch.zeros(3)])
def test_network_file_foreign_files_are_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(pyedge.FormatError, match="not a network file"):
        load_network(path)


def test_network_file_of_the_devices_side_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    write_student(tiny_student(), tmp_path / "student.pyedge")
    with pytest.raises(pyedge.FormatError, match=r"student\.pyedge: .*pyedge export.*inspect"):
        load_network(tmp_path / "student.pyedge")


def test_network_file_compressed_archive_is_refused(saved: Path, tmp_path: Path) -> None:
    squeezed = tmp_path / "squeezed.pt"
    with (
        zipfile.ZipFile(saved) as old,
        zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(pyedge.FormatError, match="compressed"):
        load_network(squeezed)


def test_network_file_not_there_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_network(tmp_path / "none.pt")


def test_network_file_own_code_comes_from_the_caller_alone(tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, builder="os:getcwd", options={"num_classes": 3})

    def build(num_classes: int) -> nn.Module:
        return models.wrn(10, widths=(4, 4, 4), stem=4, num_classes=num_classes, in_channels=1)

    model, path = build(3), tmp_path / "own.pt"
    save_network(path, model, info)
    with pytest.raises(ValueError, match=r"os:getcwd, code .*not in the file"):
        load_network(path)
    again, _ = load_network(path, build=build)
    assert torch.equal(again(torch.ones(1, 1, 8, 8)), model.eval()(torch.ones(1, 1, 8, 8)))


def test_network_file_failed_write_leaves_the_old_file(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "n.pt"
    path.write_bytes(saved.read_bytes())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_network(path, teacher_of(INFO), INFO)
    assert path.read_bytes() == saved.read_bytes()
    assert os.listdir(tmp_path) == ["n.pt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_network_file_can_be_read_by_others_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_network(tmp_path / "n.pt", teacher_of(INFO), INFO)
    finally:
        os.umask(before)
    assert (tmp_path / "n.pt").stat().st_mode & 0o777 == 0o640
