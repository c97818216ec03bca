"""Atomic writing: the old file or the new one, whatever comes in between."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from pyedge.files.atomic import hold_interrupt, write_atomically


@pytest.fixture(autouse=True)
def heed_interrupts() -> Iterator[None]:
    """Whoever starts the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def only(path: Path) -> bytes:
    assert os.listdir(path.parent) == [path.name]
    return path.read_bytes()


def test_interrupt_waits_for_the_whole_file(target: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"ne")
        interrupt()
        file.write(b"w")

    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, write)
    assert only(target) == b"new"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_interrupt_is_heard_at_once_and_leaves_the_old_file(target: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"ne")
        interrupt()
        interrupt()
        raise AssertionError("went on after the second interrupt")

    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, write)
    assert only(target) == b"old"


def test_an_interrupt_after_the_rename_is_not_taken_for_a_lost_file(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def replace_then_interrupt(*paths: str) -> None:
        replace(*paths)
        interrupt()
        interrupt()

    monkeypatch.setattr(os, "replace", replace_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, lambda file: file.write(b"new"))
    assert only(target) == b"new"


def test_errors_of_the_writer_go_through(target: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"ne")
        interrupt()
        raise OSError("disk full")

    with pytest.raises(KeyboardInterrupt) as raised:
        write_atomically(target, write)
    assert isinstance(raised.value.__context__, OSError)
    assert only(target) == b"old"


def test_an_ignored_interrupt_stays_ignored(target: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with hold_interrupt():
        interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    write_atomically(target, lambda file: file.write(b"new"))
    assert only(target) == b"new"


def test_threads_write_without_touching_signals(target: Path) -> None:
    thread = threading.Thread(
        target=write_atomically, args=(target, lambda file: file.write(b"new"))
    )
    thread.start()
    thread.join()
    assert only(target) == b"new"
