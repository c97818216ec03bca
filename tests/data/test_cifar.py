"""CIFAR-10's official files, small: layout, labels, damage, and pickles that mean harm."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyedge.data import cifar, load_cifar10, load_dataset
from pyedge.data.pickled import load_dict
from pyedge.errors import FormatError

N = 20  # records a batch here, in place of 10,000
NAMES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
ALL = (*NAMES, "test_batch")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(cifar, "RECORDS", N)


def content(i: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(i)
    images = random.integers(0, 256, (N, 3072), dtype=np.uint8)
    return images, random.permutation(np.arange(N) % 10).astype(np.uint8)


def binary(i: int) -> bytes:
    images, labels = content(i)
    return np.concatenate([labels[:, None], images], axis=1).tobytes()


def python2(i: int) -> bytes:
    """Write a batch opcode by opcode as Python 2's cPickle did for the official archive."""
    images, labels = content(i)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87R"
        b"(K\x01" + b"M" + struct.pack("<H", N) + b"M" + struct.pack("<H", 3072) + b"\x86"
        b"cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", images.size) + images.tobytes() + b"tb"
    )
    numbers = b"".join(b"K" + bytes([label]) for label in labels.tolist())
    return b"\x80\x02}q\x01(U\x04data" + array + b"U\x06labels](" + numbers + b"eu."


def python3(i: int, protocol: int) -> bytes:
    images, labels = content(i)
    batch = {b"data": images, b"labels": labels.tolist(), b"filenames": [b"a.png"] * N}
    return pickle.dumps(batch, protocol=protocol)


WRITERS = {
    "binary": (binary, ".bin"),
    "python2": (python2, ""),
    "python3_protocol_2": (lambda i: python3(i, 2), ""),
    "python3_protocol_4": (lambda i: python3(i, 4), ""),
}


def files(kind: str) -> dict[str, bytes]:
    write, suffix = WRITERS[kind]
    return {name + suffix: write(i) for i, name in enumerate(ALL)}


def archive(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def folder(path: Path, members: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, data in members.items():
        (path / name).write_bytes(data)
    return path


def check(train, test) -> None:
    assert (len(train), len(test)) == (5 * N, N)
    assert train.images.shape[1:] == (3, 32, 32)
    for i in range(6):
        images, labels = content(i)
        part = train.subset(range(i * N, (i + 1) * N)) if i < 5 else test
        assert np.array_equal(part.images.flatten(1).numpy(), images)
        assert np.array_equal(part.labels.numpy(), labels)
    assert train.classes[0] == "airplane"
    assert test.classes[9] == "truck"


@pytest.mark.parametrize("kind", WRITERS)
def test_cifar_archive_and_folder_read_the_same(tmp_path, kind):
    check(*load_cifar10(archive(tmp_path / "cifar.tar.gz", files(kind))))
    check(*load_cifar10(folder(tmp_path / "unpacked", files(kind))))


def test_cifar_python2_fixture_is_a_real_pickle():
    batch = pickle.loads(python2(0).replace(b"numpy.core", b"numpy._core"), encoding="bytes")
    images, labels = content(0)
    assert np.array_equal(batch[b"data"], images)
    assert batch[b"labels"] == labels.tolist()


def test_cifar_dataset_takes_val_out_of_train(tmp_path):
    path = folder(tmp_path / "c", files("binary"))
    train, val, test = load_dataset(path, val_fraction=0.2)
    assert (len(train), len(val), len(test)) == (4 * N, N, N)
    assert val.counts == (2,) * 10
    official = load_cifar10(path)
    assert torch.equal(test.images, official[1].images)
    rows = {bytes(i) for i in official[0].images.numpy()}
    assert {bytes(i) for i in (*train.images.numpy(), *val.images.numpy())} == rows
    with pytest.raises(ValueError, match="32x32"):
        load_dataset(path, size=64)


@pytest.mark.parametrize("missing", ["data_batch_3", "test_batch"])
@pytest.mark.parametrize("kind", ["binary", "python2"])
def test_cifar_missing_batch_is_named(tmp_path, kind, missing):
    members = {n: d for n, d in files(kind).items() if not n.startswith(missing)}
    with pytest.raises(FormatError, match=f"lacks {missing}"):
        load_cifar10(folder(tmp_path / "c", members))


def test_cifar_two_versions_in_one_folder_are_refused(tmp_path):
    members = files("binary") | {"test_batch": python2(5)}
    with pytest.raises(FormatError, match="a second test_batch"):
        load_cifar10(folder(tmp_path / "c", members))


@pytest.mark.parametrize("cut", [0, 1, 3072, 3073, 5 * 3073, N * 3073 - 1])
def test_cifar_truncated_binary_batch_is_named(tmp_path, cut):
    members = files("binary")
    members["data_batch_2.bin"] = members["data_batch_2.bin"][:cut]
    with pytest.raises(FormatError, match=r"data_batch_2\.bin.*truncated.*got " + str(cut)):
        load_cifar10(folder(tmp_path / "c", members))


def test_cifar_labels_out_of_range_are_named(tmp_path):
    members = files("binary")
    members["data_batch_4.bin"] = b"\x0a" + members["data_batch_4.bin"][1:]
    with pytest.raises(FormatError, match=r"data_batch_4\.bin: labels: .*0\.\.9, got 10"):
        load_cifar10(folder(tmp_path / "c", members))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({b"data": np.zeros((N, 3072), np.uint8)}, "'labels'"),
        ({b"labels": [0] * N}, "'data'"),
        ({b"data": np.zeros((N, 3071), np.uint8), b"labels": [0] * N}, "'data'"),
        ({b"data": np.zeros((N, 3072), np.float32), b"labels": [0] * N}, "dtype 'f4'"),
        ({b"data": np.zeros((N, 3072), np.uint8), b"labels": [0] * (N - 1)}, "'labels'"),
        ({b"data": np.zeros((N, 3072), np.uint8), b"labels": [10] * N}, "0..9"),
        ({b"data": np.zeros((N, 3072), np.uint8), b"labels": [True] * N}, "0..9"),
        ([1, 2], "wanted a dict"),
        ({7: 1}, "a key of type int"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar_wrong_pickled_content_is_named(batch, words, protocol):
    with pytest.raises(FormatError, match=f"data_batch_1: .*{words}"):
        cifar.read_batches({"data_batch_1": pickle.dumps(batch, protocol=protocol)})


class Harm:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "harm",
    [
        Harm(os.mkdir, "pyedge-was-here"),
        Harm(exec, "open('pyedge-was-here', 'w')"),
        Harm(getattr, "text", "upper"),
        Harm(np.ndarray, (10**13,)),
        Harm(np.load, "pyedge-was-here"),
    ],
    ids=["mkdir", "exec", "getattr", "ndarray", "load"],
)
def test_cifar_harmful_pickle_runs_nothing(tmp_path, monkeypatch, harm, protocol):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match="data_batch_1"):
        load_dict("data_batch_1", pickle.dumps({b"data": harm}, protocol=protocol))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x02}",
        b"\x80\x02]q\x01h\x01a.",  # a list that holds itself
        b"\x80\x02}r\xff\xff\xff\x7f.",  # memo entry 2^31: the C reader would take 32 GB
        b"\x80\x02U\xff.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",  # 2^63 bytes of text
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02cnumpy\ndtype\nU\x02O8\x85R.",
        b"\x80\x02c_codecs\nencode\nU\x03abcU\x04zlib\x86R.",
        b"\x80\x02Pabc\n.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_cifar_odd_pickles_are_format_errors(data):
    with pytest.raises(FormatError, match="data_batch_1"):
        load_dict("data_batch_1", data)


def result_or_refusal(read):
    try:
        return read()
    except FormatError as error:
        return error


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_cifar_altered_pickle_is_a_format_error_or_a_dict(data):
    whole = bytearray(python3(0, data.draw(st.sampled_from([2, 4]))) if data.draw(st.booleans())
                      else python2(0))  # fmt: skip
    header = 400  # what lies around the pixels is what can go wrong
    place = data.draw(st.integers(0, header) | st.integers(len(whole) - header, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(whole)) | st.integers(0, len(whole)))
    found = result_or_refusal(lambda: load_dict("data_batch_1", bytes(whole[:cut])))
    if isinstance(found, FormatError):
        assert "data_batch_1" in str(found)
    else:
        assert isinstance(found, dict)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_cifar_damaged_archive_is_a_format_error_or_reads_the_same(tmp_path, data):
    path = tmp_path / "whole.tar.gz"
    if not path.exists():
        archive(path, files("binary"))
    damaged = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(damaged) - 1))]
    else:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(damaged)
    found = result_or_refusal(lambda: load_cifar10(broken))
    if isinstance(found, FormatError):
        assert str(broken) in str(found)
    else:
        check(*found)


def test_cifar_wants_ten_classes_when_given_folders(tmp_path):
    (tmp_path / "c").mkdir()
    with pytest.raises(FormatError, match="no images"):
        load_cifar10(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_cifar10(tmp_path / "nowhere")
