"""Saving on disks as people have them: no fsync, no chmod, no rename, full, mounted, read-only."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import threading
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from pyedge.edge.learner import EdgeLearner
from pyedge.files.atomic import write_atomically
from pyedge.student.archive import read_student
from tests.support.disk_case import (
    failing,
    mounted,
    needs_posix,
    nothing_said_yet,
    of_file,
    of_folder,
    only,
    put,
    target,
)
from tests.support.edge_student import images, tiny_student

__all__ = ["nothing_said_yet", "target"]  # fixtures
pytestmark = needs_posix


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_save_says_once_that_a_disk_does_not_sync_folders(
    target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing("fsync", code, of_folder))
    with pytest.warns(UserWarning, match=r"written whole, .*not sync folders"):
        put(target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        put(target, b"newer")  # said already
    assert only(target) == b"newer"


def test_save_takes_a_folder_that_cannot_be_opened(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing("open", errno.EACCES, lambda p, *_: os.path.isdir(p)))
    with pytest.warns(UserWarning, match=r"not sync folders \(Permission denied\)"):
        put(target)
    assert only(target) == b"new"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_save_says_that_a_disk_does_not_sync_files(
    target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing("fsync", code, of_file))
    with pytest.warns(UserWarning, match=r"written, .*cannot tell when .*safe"):
        put(target)
    assert only(target) == b"new"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_save_takes_a_failing_sync_of_a_file_for_a_failure(
    target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing("fsync", code, of_file))
    with pytest.raises(OSError, match="file") as raised:
        put(target)
    assert raised.value.errno == code
    assert only(target) == b"old"


def test_learn_with_a_checkpoint_is_not_undone_by_a_folder_without_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"steps": 3, "progress": False}
    plain, learner = EdgeLearner(tiny_student()), EdgeLearner(tiny_student())
    plain.learn(*images(), **options)
    monkeypatch.setattr(os, "fsync", failing("fsync", errno.EINVAL, of_folder))
    with pytest.warns(UserWarning, match="does not sync folders") as told:
        learner.learn(*images(), checkpoint=tmp_path / "run.checkpoint", **options)
    assert len(told) == 1
    learner.save(tmp_path / "student.pyedge")  # said already
    there = read_student(tmp_path / "student.pyedge").arrays
    assert all(np.array_equal(value, there[n]) for n, value in plain.student.arrays.items())
    assert any(not np.array_equal(v, there[n]) for n, v in tiny_student().arrays.items())


def test_save_of_a_new_file_needs_no_chmod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("chmod", "fchmod", "chown", "fchown"):
        monkeypatch.setattr(os, name, failing(name, errno.EPERM))
    before = os.umask(0o027)
    try:
        put(tmp_path / "file")
    finally:
        os.umask(before)
    assert only(tmp_path / "file") == b"new"
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o640


def test_save_says_that_it_cannot_keep_a_mode(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.chmod(0o666)
    before = os.umask(0o077)
    monkeypatch.setattr(os, "fchmod", failing("fchmod", errno.EPERM))
    try:
        with pytest.warns(UserWarning, match=r"permissions .*666"):
            put(target)
    finally:
        os.umask(before)
    assert only(target) == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o666, 0o444])
def test_save_keeps_the_mode_of_a_file_that_was_there(target: Path, mode: int) -> None:
    if not mode & 0o200 and os.geteuid():
        pytest.skip("only root may write a file that is read-only")
    target.chmod(mode)
    put(target)
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert only(target) == b"new"


def test_save_lets_nobody_read_a_private_file_while_it_is_written(target: Path) -> None:
    target.chmod(0o600)
    seen = []

    def write(file: BinaryIO) -> None:
        seen.extend(p.stat().st_mode & 0o777 for p in target.parent.iterdir())
        file.write(b"new")

    write_atomically(target, write)
    assert seen == [0o600, 0o600]


def test_save_keeps_owner_and_group_where_it_may(target: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may give files away")
    os.chown(target, 1234, 2345)
    put(target)
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 2345)


def test_save_says_that_it_cannot_keep_an_owner(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid():
        pytest.skip("only root may give files away")
    os.chown(target, 1234, 2345)
    monkeypatch.setattr(os, "fchown", failing("fchown", errno.EPERM))
    with pytest.warns(UserWarning, match="another user or group"):
        put(target)
    assert only(target) == b"new"


def test_threads_that_save_leave_the_umask_alone(tmp_path: Path) -> None:
    """A umask read by setting it lets another thread make a file that anybody may write."""
    before, found = os.umask(0o022), []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            path = tmp_path / "other"
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            found.append(stat.S_IMODE(path.stat().st_mode))
            path.unlink()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(200):
            put(tmp_path / "file")
    finally:
        stop.set()
        thread.join()
        os.umask(before)
    assert set(found) == {0o644}


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES])
@pytest.mark.parametrize("content", [b"", b"n", b"new", b"something longer"])
def test_save_writes_over_what_cannot_be_renamed_over_and_says_so(
    target: Path, monkeypatch: pytest.MonkeyPatch, code: int, content: bytes
) -> None:
    node = target.stat().st_ino
    monkeypatch.setattr(os, "replace", failing("replace", code))
    with pytest.warns(UserWarning, match=r"written, .*overwriting the old file"):
        put(target, content)
    assert only(target) == content
    assert target.stat().st_ino == node


def test_save_of_a_new_file_where_nothing_can_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", failing("replace", errno.ENOSYS))
    with pytest.warns(UserWarning, match="overwriting the old file"):
        put(tmp_path / "file")
    assert only(tmp_path / "file") == b"new"


def test_save_puts_the_old_content_back_where_writing_over_it_fails(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", failing("replace", errno.EBUSY))
    calls = iter(range(9))
    monkeypatch.setattr(
        os, "fsync", failing("fsync", errno.EIO, lambda d: of_file(d) and next(calls) == 1)
    )
    with pytest.raises(OSError, match="Input/output error"):
        put(target, b"something longer")
    assert only(target) == b"old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_save_that_fails_to_rename_keeps_the_old_file(
    target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "replace", failing("replace", code))
    with pytest.raises(OSError, match=os.strerror(code)):
        put(target)
    assert only(target) == b"old"


def test_save_in_a_closed_folder_writes_over_the_file(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_folder(path: Any, flags: int, *_: Any) -> bool:
        return bool(flags & os.O_CREAT)

    monkeypatch.setattr(os, "open", failing("open", errno.EACCES, in_folder))
    with pytest.warns(UserWarning, match=r"overwriting the old file \(Permission denied"):
        put(target)
    assert only(target) == b"new"
    with pytest.raises(PermissionError, match="another"):
        put(target.with_name("another"))
    assert only(target) == b"new"


def test_save_over_another_user_s_file_in_a_sticky_folder(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be written and not replaced, and so its owner stays."""
    if os.geteuid():
        pytest.skip("only root may give files away")
    os.chown(target, 1234, 2345)
    monkeypatch.setattr(os, "replace", failing("replace", errno.EPERM))
    monkeypatch.setattr(os, "fchown", failing("fchown", errno.EPERM))
    with pytest.warns(UserWarning, match="overwriting the old file") as told:
        put(target)
    assert len(told) == 1
    assert only(target) == b"new"
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 2345)


def test_save_over_a_file_that_is_mounted_by_itself(tmp_path: Path) -> None:
    """As containers get single files."""
    (tmp_path / "outside").mkdir()
    outside, inside = tmp_path / "outside" / "s.pyedge", tmp_path / "s.pyedge"
    outside.write_bytes(b"old")
    inside.touch()
    with mounted(inside, "--bind", str(outside)):
        with pytest.warns(UserWarning, match="a mount point"):
            EdgeLearner(tiny_student()).save(inside)
        assert read_student(inside).classes == tiny_student().classes
    assert read_student(outside).classes == tiny_student().classes
    assert sorted(os.listdir(tmp_path)) == ["outside", "s.pyedge"]


def test_save_on_a_full_disk_keeps_the_old_student(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        learner = EdgeLearner(tiny_student())
        path = tmp_path / "s.pyedge"
        learner.save(path)
        old = path.read_bytes()
        (tmp_path / "filler").write_bytes(b"0" * (65536 - 2 * (len(old) // 4096 + 1) * 4096 + 4096))
        with pytest.raises(OSError, match=r"No space left on device: '.*s\.pyedge'"):
            learner.save(path)
        assert path.read_bytes() == old
        assert sorted(os.listdir(tmp_path)) == ["filler", "s.pyedge"]


def test_save_past_the_largest_size_of_a_file_keeps_the_old_one(target: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            put(target, bytes(1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert only(target) == b"old"


def test_save_finds_the_full_disk_behind_a_library_s_own_error(target: Path) -> None:
    def write(file: BinaryIO) -> None:
        try:
            for _ in range(99):
                file.write(bytes(100_000))
        except OSError:
            raise RuntimeError("unexpected pos 768 vs 662") from None

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*file'") as raised:
            write_atomically(target, write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert only(target) == b"old"


def test_learning_reads_a_student_from_a_disk_that_is_read_only(tmp_path: Path) -> None:
    EdgeLearner(tiny_student()).learn(
        *images(), steps=3, progress=False, checkpoint=tmp_path / "run.checkpoint"
    )
    EdgeLearner(tiny_student()).save(tmp_path / "s.pyedge")
    with mounted(tmp_path, "--bind", str(tmp_path)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path)], check=True)
        learner = EdgeLearner(tmp_path / "s.pyedge")
        found = learner.learn(
            *images(), steps=3, progress=False, checkpoint=tmp_path / "run.checkpoint", resume=True
        )
        assert found.steps == 3  # it was done: nothing is written any more
        with pytest.raises(OSError, match="the file is read-only"):
            learner.save(tmp_path / "s.pyedge")
        with pytest.raises(OSError, match="Read-only"):
            learner.save(tmp_path / "t.pyedge")
    assert read_student(tmp_path / "s.pyedge").record == ()
