"""Saving under names as people have them: links, devices, pipes, long names, leftovers."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pyedge.edge.learner import EdgeLearner
from pyedge.files.atomic import beside, remove_leftovers, write_atomically
from tests.support.disk_case import (
    failing,
    needs_posix,
    nothing_said_yet,
    of_file,
    only,
    put,
    target,
)
from tests.support.edge_student import tiny_student

__all__ = ["nothing_said_yet", "target"]  # fixtures
pytestmark = needs_posix


def test_save_follows_a_link_to_what_it_points_to(target: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    first, second = tmp_path / "folder" / "first", tmp_path / "second"
    first.symlink_to(target)
    second.symlink_to("folder/first")
    put(second)
    assert target.read_bytes() == b"new"
    assert first.is_symlink()
    assert os.readlink(second) == "folder/first"
    assert os.listdir(tmp_path / "folder") == ["first"]


def test_save_through_a_dangling_link_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    put(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert only(tmp_path / "folder" / "file") == b"new"


def test_save_refuses_what_leads_nowhere(target: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("nowhere/file")
    (tmp_path / "link").symlink_to(tmp_path)
    before = sorted(os.listdir(tmp_path))
    cases: list[tuple[Any, type[OSError], str]] = [
        (tmp_path / "loop", OSError, "levels of symbolic links"),
        (tmp_path / "lost", FileNotFoundError, "no such folder.*nowhere"),
        (tmp_path / "nowhere" / "file", FileNotFoundError, "no such folder.*nowhere"),
        (tmp_path / "link", IsADirectoryError, "is a folder, wanted a file"),
        (tmp_path, IsADirectoryError, "is a folder, wanted a file"),
        (f"{tmp_path}/new/", IsADirectoryError, "a folder's name"),
        (target / "file", NotADirectoryError, "Not a directory"),
        ("", FileNotFoundError, "an empty one"),
        (tmp_path / ("n" * 300), OSError, "too long"),
    ]
    for path, kind, message in cases:
        with pytest.raises(kind, match=message):
            put(path)
    assert sorted(os.listdir(tmp_path)) == before
    assert target.read_bytes() == b"old"


def test_save_refuses_a_read_only_file_as_open_would(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: bool(os.stat(path).st_mode & 0o200))
    with pytest.raises(PermissionError, match=r"the file is read-only: '.*file'"):
        put(target)
    assert only(target) == b"old"


def test_save_leaves_the_other_hard_links_as_they_were(target: Path, tmp_path: Path) -> None:
    os.link(target, tmp_path / "other")
    put(target)
    assert (target.read_bytes(), (tmp_path / "other").read_bytes()) == (b"new", b"old")


def test_save_to_a_device_leaves_the_device(tmp_path: Path) -> None:
    before = os.stat("/dev/null")
    EdgeLearner(tiny_student()).save("/dev/null")
    assert os.path.samestat(os.stat("/dev/null"), before)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_save_to_a_pipe_gives_the_bytes_of_a_file(tmp_path: Path) -> None:
    learner = EdgeLearner(tiny_student())
    learner.save(tmp_path / "s.pyedge")
    os.mkfifo(tmp_path / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    learner.save(tmp_path / "pipe")
    reader.join()
    assert found == [(tmp_path / "s.pyedge").read_bytes()]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("redirected", [False, True])
def test_save_to_standard_output(tmp_path: Path, redirected: bool) -> None:
    code = (
        "from pyedge.files.atomic import write_atomically\n"
        "write_atomically('/dev/stdout', lambda file: file.write(b'new'))"
    )
    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=out if redirected else subprocess.PIPE, check=True
        )
    found = (tmp_path / "out").read_bytes() if redirected else done.stdout
    assert found == b"new"


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "n" * 240, "emoji\N{SNOWMAN}" * 25])
def test_save_under_the_longest_names(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, b"old")
    put(tmp_path / name)
    assert only(tmp_path / name) == b"new"


def test_hidden_names_of_long_names_differ(tmp_path: Path) -> None:
    one, other = (beside(tmp_path / ("n" * 200 + end), "x").name for end in "ab")
    assert one != other
    assert len(one) < 143


def test_save_under_a_name_that_is_no_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "darwin":
        pytest.skip("its disks take UTF-8 alone")
    folder = os.fsencode(tmp_path)
    monkeypatch.setattr(os, "fsync", failing("fsync", errno.EINVAL, of_file))
    with pytest.warns(UserWarning, match=r"gr\\xfcn is written") as told:
        put(folder + b"/gr\xfcn")
    assert os.listdir(folder) == [b"gr\xfcn"]
    for note in told:
        str(note.message).encode()  # can be printed
    put(Path(os.fsdecode(folder + b"/gr\xfcn")), b"newer")
    assert (tmp_path / os.fsdecode(b"gr\xfcn")).read_bytes() == b"newer"


def test_two_savers_of_one_file_leave_one_of_their_files_whole(tmp_path: Path) -> None:
    contents = [bytes([i]) * 50_000 for i in range(4)]

    def save(content: bytes) -> None:
        for _ in range(25):
            put(tmp_path / "file", content)

    threads = [threading.Thread(target=save, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert only(tmp_path / "file") in contents


def test_leftovers_of_killed_writers_are_removed_where_asked_and_nothing_else(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    long = "n" * 200
    (tmp_path / "link").symlink_to(f"folder/{long}")
    put(tmp_path / "link")
    folder = tmp_path / "folder"
    left = beside(folder / long, "0123abcd")
    others = [folder / f".{long}.old", folder / ".other.0123abcd", folder / "n.0123abcd"]
    for path in (left, *others):
        path.touch()
    remove_leftovers(tmp_path / "link")
    assert not left.exists()
    assert all(path.exists() for path in (*others, folder / long))
    remove_leftovers(tmp_path / "nowhere" / "file")


def test_streams_get_the_content_whole_or_nothing(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        assert isinstance(file, io.BytesIO)
        file.write(b"ne")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_atomically("/dev/null", write)
