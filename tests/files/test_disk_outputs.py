"""Packs, networks, pictures and the commands' --out on disks as people have them."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyedge.cli import main
from pyedge.cloud.compression.compress import plan
from pyedge.cloud.compression.report import save_pictures
from pyedge.cloud.knowledge_folder import new_pack
from pyedge.cloud.make_knowledge import make_knowledge
from pyedge.cloud.network_file import NetworkInfo, load_network, save_network
from pyedge.cloud.training.train import train
from pyedge.data import BatchLoader, ImageSet
from pyedge.knowledge.pack import Knowledge
from pyedge.models import create
from pyedge.student.archive import read_student, write_student
from tests.support.disk_case import failing, mounted, needs_posix, nothing_said_yet, of_folder
from tests.support.edge_student import images, tiny_student
from tests.support.knowledge_case import loud_teacher, pixels

__all__ = ["nothing_said_yet"]  # a fixture
pytestmark = needs_posix


def pack(path: Path, seed: int = 0) -> Path:
    make_knowledge(tiny_student(), loud_teacher(), pixels(5), path, seed=seed, progress=False)
    return path


def digest(path: Path) -> str:
    return Knowledge(path).digest


def test_pack_is_made_where_nothing_can_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = digest(pack(tmp_path / "plain"))
    monkeypatch.setattr(os, "fsync", failing("fsync", errno.EINVAL, of_folder))
    with pytest.warns(UserWarning, match="does not sync folders"):
        pack(tmp_path / "pack")
    assert digest(tmp_path / "pack") == plain
    monkeypatch.setattr(os, "fsync", failing("fsync", errno.ENOSYS))
    with pytest.warns(UserWarning, match=r"cannot tell when .*safe"):
        pack(tmp_path / "third")
    assert digest(tmp_path / "third") == plain
    assert sorted(os.listdir(tmp_path)) == ["pack", "plain", "third"]


def test_pack_takes_the_place_of_one_that_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of a container's image cannot (EXDEV)."""
    path = pack(tmp_path / "pack")
    before = digest(path)
    monkeypatch.setattr(
        os, "rename", failing("rename", errno.EXDEV, lambda a, b: str(a) == str(path))
    )
    pack(path, seed=1)
    assert digest(path) != before
    assert os.listdir(tmp_path) == ["pack"]


def test_pack_is_made_though_the_old_one_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "pack")
    before = digest(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", failing("rmdir", errno.EBUSY))
        with pytest.warns(UserWarning, match="pack before it stays"):
            pack(path, seed=1)
    assert digest(path) != before
    assert sorted(os.listdir(tmp_path)) == [".pack.old", "pack"]
    pack(path, seed=2)
    assert os.listdir(tmp_path) == ["pack"]


def test_pack_that_a_killed_run_put_aside_comes_back(tmp_path: Path) -> None:
    """Killed between its two renames, a run leaves .pack.old and no pack."""
    path = pack(tmp_path / "pack")
    before = digest(path)
    os.rename(path, tmp_path / ".pack.old")
    with pytest.raises(KeyError), new_pack(path):
        raise KeyError("the next run goes wrong as well")
    assert digest(path) == before
    assert os.listdir(tmp_path) == ["pack"]


def test_pack_is_made_where_the_numbers_of_files_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on FUSE and SMB without stable inodes."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", lambda _: os.stat_result(range(10)))
        with new_pack(tmp_path / "pack") as folder:
            (folder / "something").touch()
    assert os.listdir(tmp_path / "pack") == ["something"]


def test_pack_is_written_through_a_link_and_under_a_long_name(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pack").symlink_to("elsewhere/" + "n" * 250)
    pack(tmp_path / "pack")
    assert (tmp_path / "pack").is_symlink()
    assert os.listdir(tmp_path / "elsewhere") == ["n" * 250]
    assert Knowledge(tmp_path / "pack").count == 5


def test_knowledge_is_read_from_a_disk_that_cannot_map_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = Knowledge(pack(tmp_path / "pack")).batch(np.arange(5))
    real = np.memmap

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.warns(UserWarning, match="this disk cannot map files"):
        read = Knowledge(tmp_path / "pack").batch(np.arange(5))
    monkeypatch.setattr(np, "memmap", real)
    assert np.array_equal(mapped["maps"][0][0][0], read["maps"][0][0][0])
    assert np.array_equal(mapped["logits"], read["logits"])


def test_knowledge_is_read_from_a_disk_that_is_read_only(tmp_path: Path) -> None:
    before = digest(pack(tmp_path / "pack"))
    with mounted(tmp_path, "--bind", str(tmp_path)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path)], check=True)
        assert digest(tmp_path / "pack") == before


def network(seed_classes: int = 3) -> tuple[Any, NetworkInfo]:
    options = {"depth": 10, "widths": (4, 4, 4), "stem": 4, "num_classes": seed_classes}
    info = NetworkInfo(
        builder="wrn", options=options, classes=("a", "b", "c"), input_shape=(3, 8, 8)
    )
    return create("wrn", **options), info


def test_networks_are_saved_through_links_and_keep_their_mode(tmp_path: Path) -> None:
    (tmp_path / "there.pt").touch(0o640)
    (tmp_path / "there.pt").chmod(0o640)
    (tmp_path / "here.pt").symlink_to("there.pt")
    save_network(tmp_path / "here.pt", *network())
    assert (tmp_path / "here.pt").is_symlink()
    assert stat.S_IMODE((tmp_path / "there.pt").stat().st_mode) == 0o640
    assert load_network(tmp_path / "there.pt")[1].classes == ("a", "b", "c")


def test_network_on_a_full_disk_says_so_and_keeps_the_old_one(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=96k", "tmpfs"):
        path = tmp_path / "t.pt"
        save_network(path, *network())
        old = path.read_bytes()
        (tmp_path / "filler").write_bytes(bytes(96 * 1024 - len(old) - 16384))
        with pytest.raises(OSError, match=r"No space left on device: '.*t\.pt'"):
            save_network(path, *network())
        assert path.read_bytes() == old
        assert sorted(os.listdir(tmp_path)) == ["filler", "t.pt"]


def test_training_finds_out_at_once_that_its_checkpoint_cannot_be_written(tmp_path: Path) -> None:
    model, _ = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = ImageSet(
        torch.zeros(8, 3, 8, 8, dtype=torch.uint8), torch.arange(8) % 3, ("a", "b", "c")
    )
    with pytest.raises(FileNotFoundError, match="no such folder"):
        train(model, BatchLoader(data, 4), checkpoint=tmp_path / "no" / "c", progress=False)
    assert all((value == before[name]).all() for name, value in model.state_dict().items())


def test_pictures_take_the_place_of_pictures(tmp_path: Path) -> None:
    made = plan(network()[0], 0.7, torch.randn(4, 3, 8, 8))
    (tmp_path / "costs.png").write_bytes(b"old")
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "zero_fractions.png").symlink_to("real.png")
    paths = save_pictures(made, tmp_path)
    assert [path.read_bytes()[:4] for path in paths] == [b"\x89PNG", b"\x89PNG"]
    assert (tmp_path / "real.png").read_bytes()[:4] == b"\x89PNG"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_student(tiny_student(), tmp_path / "student.pyedge")
    np.savez(tmp_path / "data.npz", images=images()[0], labels=images()[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


LEARN = "learn student.pyedge data.npz --steps 2 --out"


def test_cli_out_that_cannot_be_written_is_seen_before_the_work(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "lost").symlink_to("nowhere/file")
    (folder / "link.pyedge").symlink_to("student.pyedge")
    (folder / "locked.pyedge").touch(0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path))
    for out, message in {
        "loop": "--out loop cannot be written: Too many levels of symbolic links",
        "lost": "there is no folder",
        "link.pyedge": "would replace student.pyedge, which this command reads",
        "locked.pyedge": "--out locked.pyedge cannot be written: the file is read-only",
        "new/": "cannot be written: is a folder's name",
        ".": "is a folder, wanted the name of a file",
    }.items():
        code = main([*LEARN.split(), out])
        assert (code, message in capsys.readouterr().err) == (2, True), out
    assert not list(folder.glob("*.checkpoint"))


def test_cli_learn_is_done_though_its_checkpoint_cannot_be_removed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Path, "unlink", failing("unlink", errno.EPERM, lambda path, **_: path.suffix != ".x")
    )
    assert main([*LEARN.split(), "taught.pyedge"]) == 0
    said = capsys.readouterr()
    assert "written to taught.pyedge" in said.out
    assert "note: taught.pyedge.checkpoint cannot be removed" in said.err
    assert read_student("taught.pyedge").record


def test_cli_notes_what_the_disk_cannot_promise(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing("fsync", errno.EINVAL, of_folder))
    assert main([*LEARN.split(), "taught.pyedge"]) == 0
    err = capsys.readouterr().err
    assert err.count("does not sync folders") == 1
    assert read_student("taught.pyedge").record
