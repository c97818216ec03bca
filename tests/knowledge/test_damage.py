"""Knowledge packs on a bad day: files are altered, runs are killed, disks are full."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyedge.cloud import knowledge_folder
from pyedge.cloud.knowledge_folder import new_pack
from pyedge.cloud.make_knowledge import make_knowledge
from pyedge.errors import FormatError
from pyedge.knowledge.pack import Knowledge
from tests.support.edge_student import images, tiny_student
from tests.support.paths import ROOT
from tests.support.tiny_pair import pair


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("packs") / "pack")


def made(path: Path, seed: int = 0, **options) -> Path:
    teacher = pair(seed)[1].eval()
    make_knowledge(tiny_student(), teacher, images(5)[0], path, views=2, **options)
    return path


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "pack")
    return tmp_path / "pack"


def names_of(pack: Path) -> list[str]:
    return sorted(file.name for file in pack.iterdir())


def edited(pack: Path, **changes) -> Path:
    """Change what the manifest says; None takes a key away."""
    path = pack / "manifest.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return pack


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_pack_with_any_byte_altered_is_refused(whole, tmp_path, data):
    name = data.draw(st.sampled_from([n for n in names_of(whole) if n != "manifest.json"]))
    good = (whole / name).read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    pack = tmp_path / "pack"
    if not pack.exists():
        shutil.copytree(whole, pack)
    try:
        (pack / name).write_bytes(bad)
        with pytest.raises(FormatError, match=name):
            Knowledge(pack)
    finally:
        (pack / name).write_bytes(good)
    Knowledge(pack)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_pack_with_a_truncated_or_longer_file_is_refused_unread(whole, tmp_path, data):
    name = data.draw(st.sampled_from([n for n in names_of(whole) if n != "manifest.json"]))
    good = (whole / name).read_bytes()
    length = data.draw(st.integers(0, 2 * len(good)).filter(lambda n: n != len(good)))
    pack = tmp_path / "pack"
    if not pack.exists():
        shutil.copytree(whole, pack)
    try:
        (pack / name).write_bytes((good * 2)[:length])
        with pytest.raises(FormatError, match=f"{name}: .*{length} bytes, wanted {len(good)}"):
            Knowledge(pack, verify=False)
    finally:
        (pack / name).write_bytes(good)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_manifest_of_any_bytes_is_refused_or_says_the_same(whole, tmp_path, data):
    good = (whole / "manifest.json").read_bytes()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    pack = tmp_path / "pack"
    if not pack.exists():
        shutil.copytree(whole, pack)
    (pack / "manifest.json").write_bytes(
        good[:start] + data.draw(st.binary(max_size=12)) + good[end:]
    )
    try:
        found = Knowledge(pack, verify=False)
    except FormatError:
        return
    # a name, a setting or a digest may be another one
    assert (found.count, found.views) == (5, 2)
    found.batch(np.arange(5), np.ones(5, np.int64))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "pyedge-network"}, "not the manifest"),
        ({"version": 2}, "version 2; .*version 1"),
        ({"images": 6}, r"of \d+ bytes is not part"),
        ({"images": 0}, "images has a value"),
        ({"images": 1 << 50}, "images has a value"),
        ({"views": True}, "views has a value"),
        ({"classes": ["a", "a", "b"]}, "classes has a value"),
        ({"classes": ["a", "b", "\ud800"]}, "classes has a value"),
        ({"dtype": "object"}, "dtype has a value"),
        ({"dtype": ["int8"]}, "dtype has a value"),
        ({"groups": []}, "is not part of this pack"),
        ({"groups": [{"blocks": 1, "map": [8, 8]}]}, "groups has a value"),
        ({"groups": [{"blocks": 1 << 30, "map": [8, 8, 4]}]}, "groups has a value"),
        ({"student": "0" * 63}, "student has a value"),
        ({"files": {}}, "lacks flip.npy"),
        ({"files": {"../../etc/passwd": {"bytes": 1, "sha256": "0" * 64}}}, "lacks"),
        ({"input_shape": None}, "input_shape has a value"),
        ({"more": 1}, "an unknown entry 'more'"),
    ],
)
def test_manifest_that_says_something_else_is_refused(copy, changes, words):
    with pytest.raises(FormatError, match=words):
        Knowledge(edited(copy, **changes))


def test_manifest_may_not_name_files_elsewhere(copy):
    files = json.loads((copy / "manifest.json").read_text())["files"]
    files["../secret.npy"] = files["logits.npy"]
    with pytest.raises(FormatError, match=r"\.\./secret\.npy .*not part of this pack"):
        Knowledge(edited(copy, files=files))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 100_000, '{"format": NaN}', "\xff"])
def test_manifest_that_is_no_json_object_is_refused(copy, text):
    (copy / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=r"manifest\.json"):
        Knowledge(copy)


def test_pack_that_lacks_a_file_or_is_none_is_refused(copy, tmp_path):
    (copy / "norms.1.npy").unlink()
    os.mkfifo(copy / "norms.1.npy")  # opening it would wait for ever
    with pytest.raises(FormatError, match=r"norms\.1\.npy: is missing"):
        Knowledge(copy)
    with pytest.raises(FormatError, match="not a knowledge pack"):
        Knowledge(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Knowledge(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "dtype", "value", "words"),
    [
        ("flip.npy", np.uint8, 2, "truth values other than 0 and 1"),
        ("shift.npy", np.int32, 9, "out of sight"),
        ("shift.npy", np.int32, -(2**31), "out of sight"),
        ("logits.npy", np.float32, np.nan, "an impossible number"),
        ("norms.0.npy", np.float64, -1.0, "an impossible number"),
    ],
)
def test_pack_that_agrees_with_itself_but_makes_no_sense_is_refused(
    copy, name, dtype, value, words
):
    """As one would be that somebody made by hand, digests and all."""
    data = bytearray((copy / name).read_bytes())
    size = np.dtype(dtype).itemsize
    data[-size:] = np.array(value, dtype).tobytes()
    (copy / name).write_bytes(data)
    files = json.loads((copy / "manifest.json").read_text())["files"]
    files[name]["sha256"] = hashlib.sha256(data).hexdigest()
    with pytest.raises(FormatError, match=words):
        Knowledge(edited(copy, files=files))


_MAKER = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tests.support.edge_student import images, tiny_student
from tests.support.tiny_pair import pair
from pyedge.cloud.make_knowledge import make_knowledge
student, teacher = pair()
calls = []
def end(module, inputs):
    calls.append(1)
    if len(calls) == 4:  # one for the shapes, two batches are written
        os.kill(os.getpid(), signal.SIGKILL)
teacher.register_forward_pre_hook(end)
make_knowledge(tiny_student(), teacher, images(40)[0], sys.argv[2], batch_size=8)
"""


def test_killed_run_leaves_no_pack_and_the_next_one_clears_up(tmp_path):
    path = tmp_path / "pack"
    done = subprocess.run([sys.executable, "-c", _MAKER, str(ROOT), str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert names_of(tmp_path) == [".pack.partial"]
    assert "maps.0.0.npy" in names_of(tmp_path / ".pack.partial")
    with pytest.raises(FormatError, match="not a knowledge pack"):
        Knowledge(tmp_path / ".pack.partial")
    Knowledge(made(path))
    assert names_of(tmp_path) == ["pack"]


@pytest.mark.parametrize("limit", [300, 3000, 5000])
def test_full_disk_leaves_nothing_behind(tmp_path, limit):
    """A limit on the size of files makes a write fail as a full disk does, half-way."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            made(tmp_path / "pack", batch_size=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not names_of(tmp_path)
    Knowledge(made(tmp_path / "pack"))


def test_full_disk_keeps_the_pack_that_was_there(tmp_path):
    path = made(tmp_path / "pack")
    before = {name: (path / name).read_bytes() for name in names_of(path)}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, old[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            made(path, seed=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert {name: (path / name).read_bytes() for name in names_of(path)} == before
    assert names_of(tmp_path) == ["pack"]


def test_disk_that_is_too_small_is_seen_beforehand(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        knowledge_folder.shutil, "disk_usage", lambda _: usage._replace(free=10_000)
    )
    with pytest.raises(OSError, match=r"pack takes 0\.00 GB, .*disk has 0\.00 GB"):
        made(tmp_path / "pack")
    assert not names_of(tmp_path)


def test_pack_replaces_an_older_pack_and_readers_keep_theirs(tmp_path):
    path = made(tmp_path / "pack")
    reader = Knowledge(path)
    before = reader.batch(np.arange(5))["maps"][0][0][0].copy()
    made(path, seed=1)
    assert names_of(tmp_path) == ["pack"]
    assert Knowledge(path).digest != reader.digest
    assert np.array_equal(reader.batch(np.arange(5))["maps"][0][0][0], before)


def test_pack_takes_the_place_of_nothing_else(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_text("mine")
    made(tmp_path / "mixed")
    (tmp_path / "mixed" / "notes.txt").write_text("mine")
    for name, words in {
        "file": "there is a file of this name",
        "photos": "is not a pack, which is not overwritten",
        "mixed": r"also holds notes\.txt",
    }.items():
        with pytest.raises(FileExistsError, match=words):
            made(tmp_path / name)
    assert (tmp_path / "mixed" / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    Knowledge(made(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        made(tmp_path / "no" / "where")


def test_pack_that_another_run_is_writing_is_left_alone(tmp_path):
    partial = tmp_path / ".pack.partial"
    partial.mkdir()
    (partial / "maps.0.0.npy").write_text("in the making")
    handle = os.open(partial, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(FileExistsError, match=r"another run .*this pack"):
        made(tmp_path / "pack")
    assert (partial / "maps.0.0.npy").read_text() == "in the making"
    os.close(handle)
    Knowledge(made(tmp_path / "pack"))


def test_pack_survives_a_kill_between_the_two_renames(tmp_path):
    """What is left then: the old pack under .NAME.old, the new one under .NAME.partial."""
    made(tmp_path / ".pack.old")
    made(tmp_path / ".pack.partial", seed=1)
    Knowledge(made(tmp_path / "pack", seed=2))
    assert ".pack.partial" not in names_of(tmp_path)
    made(tmp_path / "pack")
    assert names_of(tmp_path) == ["pack"]


def test_rename_that_fails_puts_the_old_pack_back(tmp_path, monkeypatch):
    path = made(tmp_path / "pack")
    digest = Knowledge(path).digest
    real = os.rename

    def fail(source, target):
        if Path(source).name == ".pack.partial":
            raise OSError("no")
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(knowledge_folder.os, "rename", fail)
        with pytest.raises(OSError, match="no"), new_pack(path) as folder:
            (folder / "file").write_text("new")
    assert Knowledge(path).digest == digest
    assert names_of(tmp_path) == ["pack"]
