"""Packs on disks that cannot tell their size, remove, keep modes or take more."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyedge.cloud.knowledge_folder import check_target, new_pack
from pyedge.cloud.knowledge_writer import NpyWriter
from pyedge.cloud.make_knowledge import make_knowledge
from pyedge.knowledge.format import Spec
from pyedge.knowledge.pack import Knowledge
from tests.support.disk_case import failing, needs_posix, nothing_said_yet, put
from tests.support.edge_student import tiny_student
from tests.support.knowledge_case import loud_teacher, pixels

__all__ = ["nothing_said_yet"]  # a fixture
pytestmark = needs_posix


def pack(path: Path, seed: int = 0) -> Path:
    make_knowledge(tiny_student(), loud_teacher(), pixels(5), path, seed=seed, progress=False)
    return path


def raising(code: int) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return function


@pytest.mark.parametrize("code", [None, errno.ENOSYS, errno.EPERM])
def test_pack_is_made_on_a_disk_that_cannot_tell_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    usage = shutil.disk_usage(tmp_path)
    nothing = type(usage)(0, 0, 0)
    monkeypatch.setattr(
        shutil, "disk_usage", raising(code) if code is not None else lambda _: nothing
    )
    assert Knowledge(pack(tmp_path / "pack")).count == 5


def test_pack_is_refused_on_a_disk_that_says_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type(shutil.disk_usage(tmp_path))(100, 100, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(OSError, match=r"the disk has 0\.00 GB free"):
        pack(tmp_path / "pack")
    assert not os.listdir(tmp_path)


def test_pack_is_made_again_and_again_though_no_old_one_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "pack")
    digests = [Knowledge(path).digest]
    with monkeypatch.context() as patch:
        for name in ("rmdir", "unlink"):
            patch.setattr(os, name, failing(name, errno.EACCES))
        for seed in (1, 2, 3):
            if seed == 1:
                with pytest.warns(UserWarning, match=r"pack before it stays .*\.pack\.old "):
                    pack(path, seed=seed)
            else:
                pack(path, seed=seed)  # said already
            digests.append(Knowledge(path).digest)
    names = [".pack.old", ".pack.old1", ".pack.old2"]
    assert sorted(os.listdir(tmp_path)) == [*names, "pack"]
    assert [Knowledge(tmp_path / name).digest for name in (*names, "pack")] == digests
    shutil.rmtree(path)  # as if a run had been killed between its two renames
    with pytest.raises(KeyError), new_pack(path):
        raise KeyError("the next run goes wrong as well")
    assert Knowledge(path).digest == digests[2]
    pack(path, seed=4)
    assert os.listdir(tmp_path) == ["pack"]


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o777, 0o2775])
def test_pack_keeps_the_mode_of_the_one_before(tmp_path: Path, mode: int) -> None:
    path = pack(tmp_path / "pack")
    path.chmod(mode)
    pack(path, seed=1)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_pack_is_private_while_it_takes_the_place_of_a_private_one(tmp_path: Path) -> None:
    path = pack(tmp_path / "pack")
    path.chmod(0o700)
    with new_pack(path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "something").touch()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_pack_is_made_where_its_mode_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "pack")
    path.chmod(0o700)
    monkeypatch.setattr(os, "chmod", failing("chmod", errno.EPERM))
    with pytest.warns(UserWarning, match=r"pack is written, .*700 .*\(chmod"):
        pack(path, seed=1)
    assert os.listdir(tmp_path) == ["pack"]


def test_pack_at_a_link_to_itself_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileExistsError, match=r"loop: .*link .*itself"):
        pack(tmp_path / "loop")
    with pytest.raises(FileExistsError, match=r"loop: .*link .*itself"):
        check_target(tmp_path / "loop")
    assert os.listdir(tmp_path) == ["loop"]


def test_pack_that_grows_too_large_for_the_disk_is_named(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/pack/\w[^/]*'"):
            pack(tmp_path / "pack")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not os.listdir(tmp_path)


def test_writing_a_file_of_a_pack_to_a_full_disk_names_it() -> None:
    import numpy as np

    writer = NpyWriter(Path("/dev/full"), Spec("<f4", (3, 1 << 16)))
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        writer.put(np.arange(3), np.zeros((3, 1 << 16), np.float32))
    writer.close()


def test_save_to_a_full_device_names_it() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        put("/dev/full")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_notes_on_a_pack_name_the_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing("fsync", code))
    with pytest.warns(UserWarning, match="written") as told:
        pack(tmp_path / "pack")
    assert len(told) == 2
    assert all(f"{tmp_path}/pack" in str(each.message) for each in told)
    assert not any("partial" in str(each.message) for each in told)


@pytest.mark.parametrize("code", [errno.EISDIR, errno.EACCES])
def test_pack_is_made_where_folders_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "open", failing("open", code, lambda p, *_: os.path.isdir(p)))
    with pytest.warns(UserWarning, match="does not sync folders"):
        pack(tmp_path / "pack")
    assert Knowledge(tmp_path / "pack").count == 5
