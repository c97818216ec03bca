"""Files of weights: read by what is in them, running nothing, or named for what they are."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import os
import pathlib
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from pyedge.cloud.weights.files import read_weights
from pyedge.errors import FormatError

WEIGHTS = {"stem.weight": torch.arange(6.0).reshape(2, 3), "stem.bias": torch.ones(2)}
FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}


class Config(dict):
    """As EasyDict and mmcv's Config: a dict of somebody's code."""


class Runs:
    """An object that would make a file when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


class Own(nn.Module):
    """Anybody's network, whose class the reader does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.nothing = None
        self.register_buffer("kept", torch.ones(3))
        self.register_buffer("passing", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.pth"


@pytest.mark.parametrize("how", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1),
        np.float64(95.1),
        np.arange(3),
        np.random.default_rng(0).normal(size=(2, 2)),
        np.array(["a", None], dtype=object),
        pathlib.PurePosixPath("/data"),
        datetime.datetime(2024, 5, 1),
        collections.defaultdict(list, {1: [2]}),
        Config(lr=0.1),
        frozenset([1]),
        nn.CrossEntropyLoss(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weight_file_is_read_whatever_lies_beside(path: Path, beside: Any, how: Any) -> None:
    if isinstance(beside, nn.Module) and how:
        pytest.skip("the old format holds the source of classes, which is not read")
    torch.save({"epoch": 3, "args": beside, "state_dict": WEIGHTS}, path, **how)
    found = read_weights(path)
    assert {n: v.tolist() for n, v in found.tensors.items()} == {
        f"state_dict.{name}": value.tolist() for name, value in WEIGHTS.items()
    }
    assert found.in_order


@pytest.mark.parametrize("how", FORMATS.values(), ids=FORMATS)
def test_weight_file_runs_no_code_of_its_own(path: Path, tmp_path: Path, how: Any) -> None:
    made = tmp_path / "made"
    for function, arguments in (
        (eval, (f"open({str(made)!r}, 'w')",)),
        (exec, (f"open({str(made)!r}, 'w')",)),
        (open, (str(made), "w")),
        (subprocess.check_call, (["touch", str(made)],)),
        (pathlib.Path.touch, (made,)),
    ):
        torch.save({"state_dict": WEIGHTS, "x": Runs(function, *arguments)}, path, **how)
        with contextlib.suppress(FormatError):
            assert len(read_weights(path).tensors) == 2
        assert not made.exists(), function
    torch.save({"state_dict": WEIGHTS, "x": Runs(os.system, f"touch {made}")}, path, **how)
    with pytest.raises(FormatError, match=r"would run \w+\.system"):
        read_weights(path)
    assert not made.exists()


def test_whole_network_is_read_as_its_state_dict(path: Path) -> None:
    torch.save(Own(), path)
    assert list(read_weights(path).tensors) == list(Own().state_dict())
    torch.save({"model": nn.DataParallel(Own()), "best": 3}, path)
    assert list(read_weights(path).tensors) == [f"model.module.{n}" for n in Own().state_dict()]


def test_whole_network_of_the_old_format_says_how_to_make_weights_of_it(path: Path) -> None:
    torch.save(Own(), path, **FORMATS["legacy"])
    with pytest.raises(FormatError, match=r"weights_only=False\), then torch\.save\(x\.state_dict"):
        read_weights(path)


def test_optimizers_are_no_weights(path: Path) -> None:
    optimizer = torch.optim.Adam(Own().parameters())
    model = Own()
    model(torch.ones(1, 1, 4, 4)).sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()
    torch.save(optimizer.state_dict(), path)
    with pytest.raises(FormatError, match=r"state of an optimizer .*wanted weights"):
        read_weights(path)
    torch.save([WEIGHTS, optimizer.state_dict()], path)
    assert list(read_weights(path).tensors) == ["0.stem.weight", "0.stem.bias"]


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w"])
def test_safetensors_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    state = {**WEIGHTS, "half": torch.ones(3, dtype=torch.bfloat16)}
    save_file(state, tmp_path / name, {"format": "pt"})
    found = read_weights(tmp_path / name)
    assert {n: v.tolist() for n, v in found.tensors.items()} == {
        n: v.tolist() for n, v in state.items()
    }
    assert not found.in_order


def test_safetensors_that_are_not_whole_are_named(path: Path) -> None:
    save_file(WEIGHTS, path)
    whole = path.read_bytes()
    for length in (10, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="damaged or truncated safetensors file"):
            read_weights(path)


@pytest.mark.parametrize("how", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_truncated_weights_are_named(path: Path, how: Any, share: float) -> None:
    torch.save({"state_dict": WEIGHTS}, path, **how)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FormatError, match=r"truncated|damaged|cannot be read"):
        read_weights(path)


def test_a_damaged_number_is_found_by_the_archive_s_checksums(path: Path) -> None:
    """torch.load takes it for another number."""
    torch.save({"state_dict": WEIGHTS}, path)
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHTS["stem.weight"].numpy().tobytes()) + 11] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"damaged at \w+/data/0;"):
        read_weights(path)


def test_weights_that_torch_wrote_without_checksums_are_read(path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"state_dict": WEIGHTS}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert len(read_weights(path).tensors) == 2


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(["zip", "legacy", "safetensors"]),
    places=st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
    value=st.integers(0, 255),
    end=st.one_of(st.none(), st.integers(0, 10**6)),
)
def test_altered_weight_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, form: str, places: list[int], value: int, end: Any
) -> None:
    path = tmp_path_factory.mktemp("altered") / "w"
    if form == "safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save({"state_dict": WEIGHTS, "epoch": 3}, path, **FORMATS[form])
    content = bytearray(path.read_bytes())
    for place in places:
        content[place % len(content)] = value
    path.write_bytes(content if end is None else content[: end % len(content)])
    with contextlib.suppress(FormatError):
        read_weights(path)


OTHERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "`git lfs pull`"),
    "html": (b"\n<!DOCTYPE html><html>", "a web page and not weights; the download went wrong"),
    "xml": (b'<?xml version="1.0"?><Error>', "a web page"),
    "json": (b'{"message": "Not Found"}', r"text \(JSON\) and not weights"),
    "shards": (b'{"metadata": {}, "weight_map": {}}', "the index of weights in several files"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, as Keras writes"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(99), "TensorFlow Lite"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(99), "an ONNX network"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "packed with gzip"),
    "numpy": (b"\x93NUMPY\x01\x00" + bytes(99), "one array of numpy"),
    "zeros": (bytes(999), "not weights, or damaged ones"),
    "text": (b"hello", "not weights, or damaged ones"),
}


@pytest.mark.parametrize(("content", "message"), OTHERS.values(), ids=OTHERS)
def test_other_files_are_named_for_what_they_are(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"w.pth: .*{message}"):
        read_weights(path)


def test_other_archives_are_named_for_what_they_are(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out, its files are not
        torch.jit.save(torch.jit.script(nn.Conv2d(1, 1, 1)), path)
    with pytest.raises(FormatError, match=r"a TorchScript program.*torch\.jit\.load\(path\)"):
        read_weights(path)
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    with pytest.raises(FormatError, match=r"archive of numpy arrays \(\.npz\)"):
        read_weights(path.with_suffix(".npz"))
    for names, message in (
        (["graph.json", "arrays/a.npy"], r"a student file for devices \(\.pyedge\)"),
        (["config.json", "model.weights.h5"], "a network of Keras"),
        (["run/best.pth", "log.txt"], r"a zip archive that holds run/best\.pth; unpack it first"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        with pytest.raises(FormatError, match=message):
            read_weights(path)


def test_folders_are_named_with_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a folder, wanted a file"):
        read_weights(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(FormatError, match=r"such as .*model\.safetensors"):
        read_weights(tmp_path)
    (tmp_path / "data.pkl").touch()
    with pytest.raises(FormatError, match=r"torch\.save .*unpacked"):
        read_weights(tmp_path)


def test_what_holds_no_names_says_what_it_holds(path: Path) -> None:
    for content, message in (
        (torch.ones(2, 3), r"one tensor without a name \(6 values of shape \[2, 3\]\)"),
        ({}, "an empty dict"),
        ({"epoch": 3, "note": "x"}, "holds no tensors, but epoch, note"),
        (17, "an object of type int"),
    ):
        torch.save(content, path)
        with pytest.raises(FormatError, match=message):
            read_weights(path)


def test_weights_are_read_without_safetensors_being_imported(path: Path) -> None:
    torch.save(WEIGHTS, path)
    code = (
        "import sys; sys.modules['safetensors'] = None\n"
        "from pyedge.cloud.weights.files import read_weights\n"
        f"print(len(read_weights({str(path)!r}).tensors))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"
