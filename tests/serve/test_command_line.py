"""`pyedge serve`, and the device's commands with --cloud, as people type them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.cli import main
from pyedge.edge.learner import EdgeLearner

pytest.importorskip("fastapi")
from tests.support.cloud_service import NAME, Process, columns, described_student

Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Run) -> Run:
    """A folder with a store, a student and a token in the environment."""
    monkeypatch.chdir(tmp_path)
    described_student(tmp_path / "s.pyedge")
    added = command(f"serve student add s.pyedge --name {NAME} --store store")
    assert (added["name"], added["version"]) == (NAME, 1)
    token = command("serve token add --device kitchen --store store")["token"]
    monkeypatch.setenv("PYEDGE_TOKEN", token)
    np.savez("mugs.npz", images=columns(30, 1, 1), labels=np.array(["mug"] * 30))
    return command


def test_commands_teach_one_device_what_another_knows(store: Run, tmp_path: Path) -> None:
    process = Process(tmp_path / "store")
    cloud = f"--cloud {process.url} --cloud-folder kept"
    try:
        found = store(f"learn {NAME} mugs.npz --add mug {cloud} --out taught.pyedge")
        assert found["contribution"]["state"] == "counted"
        np.save("mugs.npy", columns(20, 1, 9))
        store("category make taught.pyedge mugs.npy --name mug --out mug.category")
        assert store(f"category offer {NAME} mug.category {cloud}")["state"] == "offered"
        (offer,) = store(f"category list {NAME} {cloud}")["categories"]
        assert (offer["name"], offer["images"]) == ("mug", 20)
        store(f"category get {NAME} mug {cloud} --out got.category")
        assert (tmp_path / "got.category").read_bytes() == Path("mug.category").read_bytes()
        (sent,) = store("serve contribution list --store store")["contributions"]
        assert (sent["state"], sent["device"], sent["classes"]) == ("counted", "kitchen", ["mug"])
        (listed,) = store("serve student list --store store")["students"]
        assert (listed["version"], listed["contributions"]) == (2, 1)
        digest = sent["digest"][:10]
        assert store(f"serve contribution withdraw {digest} --store store")["state"] == "withdrawn"
        assert store(f"serve contribution accept {digest} --store store")["state"] == "counted"
        assert main(["serve", "contribution", "reject", digest, "--store", "store"]) == 2
        (row,) = store("serve token list --store store")["tokens"]
        store(f"serve token revoke {row['id']} --store store")
        words = f"learn {NAME} mugs.npz --add mug {cloud} --out again.pyedge"
        assert main(words.split()) == 1
    finally:
        assert process.stop() in (0, -15, 143)
    assert "mug" in EdgeLearner(tmp_path / "taught.pyedge").classes


def test_learn_without_network_keeps_what_it_would_send(store: Run, tmp_path: Path) -> None:
    process = Process(tmp_path / "store")
    store(f"learn {NAME} mugs.npz --add mug --no-contribute --cloud {process.url} "
          "--cloud-folder kept --out first.pyedge")  # fmt: skip
    port = process.port
    process.kill()
    (kept,) = (tmp_path / "kept" / "students").iterdir()
    words = f"learn {kept} mugs.npz --add mug --cloud http://127.0.0.1:{port} --timeout 1"
    found = store(f"{words} --cloud-folder kept --out taught.pyedge")
    assert found["contribution"]["state"] == "waiting"
    process = Process(tmp_path / "store", port)
    try:
        found = store(f"{words} --cloud-folder kept --out taught.pyedge")
        assert found["contribution"] is None  # the same images of the same student
        (sent,) = store("serve contribution list --store store")["contributions"]
        assert sent["state"] == "counted"
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("serve", 2, "missing: --store DIR"),
        ("serve --store store --host 0.0.0.0", 2, "would send tokens in the clear"),
        ("serve --store store --certificate c.pem", 2, "--certificate and --key go together"),
        ("serve --store store --port 70000", 2, "wanted a port up to 65535"),
        ("serve token revoke 1234 --store store", 2, "no token in use has this id"),
        ("serve token add --device a --scopes all --store store", 2, "scopes: wanted some of"),
        ("serve student add none.pyedge --name a --store store", 2, "no such file or folder"),
        ("serve contribution accept 12 --store store", 2, "0 contributions begin with this"),
        ("serve --store store --database mysql+none://x", 2, "serve: database: wanted a URL"),
        ("learn s.pyedge mugs.npz --plain --out o.pyedge", 2, "--plain has a meaning only with"),
        ("category get a b --out o", 2, "missing: --cloud"),
    ],
)
def test_commands_say_what_is_wrong(
    store: Run, words: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == code
    error = capsys.readouterr().err
    assert message in error, error


def test_service_over_tls_is_believed_by_its_certificate(store: Run, tmp_path: Path) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out",
         "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1"],
        capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    process = Process(tmp_path / "store", 0, "--certificate", "cert.pem", "--key", "key.pem")
    try:
        assert process.url.startswith("https://")
        store(f"category list {NAME} --cloud {process.url} --cloud-folder k --ca cert.pem")
        words = f"category list {NAME} --cloud {process.url} --cloud-folder k --timeout 5"
        assert main([*words.split(), "--json"]) == 1
    finally:
        process.stop()


def test_help_of_serve_needs_no_package(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("serve --help", "serve token add --help", "category get --help"):
        assert main(words.split()) == 0
        assert "--store" in capsys.readouterr().out or "category" in words
