"""What docs/deploy starts: the very options, in a service that answers."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from tests.support.cloud_service import Process
from tests.support.paths import ROOT

DEPLOY = ROOT / "docs" / "deploy"


def unit() -> str:
    return (DEPLOY / "pyedge-serve.service").read_text(encoding="utf-8")


def words_of_unit() -> list[str]:
    line = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", unit(), flags=re.M)
    assert line is not None
    return shlex.split(line[1].replace("\\\n", " "))


def words_of_compose() -> list[str]:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    folded = re.search(r"^    command: >-\n((?:      .*\n)+)", text, flags=re.M)
    assert folded is not None
    return shlex.split(folded[1])


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key, of this machine."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
         "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def started(words: Sequence[str], folder: Path, certificate: tuple[Path, Path]) -> Process:
    """Start what they start, with the paths of this machine and a free port."""
    there = {"--certificate": str(certificate[0]), "--key": str(certificate[1])}
    options = list(words[2:])
    assert options[options.index("--host") + 1] == "0.0.0.0"
    options[options.index("--host") + 1] = "127.0.0.1"
    for name, path in there.items():
        options[options.index(name) + 1] = path
    if "--database" in options:
        url = options[options.index("--database") + 1]
        assert url == "postgresql+psycopg://pyedge:${PYEDGE_DB_PASSWORD}@database/pyedge"
        options[options.index("--database") + 1] = f"sqlite:///{folder / 'other.db'}"
    store = options.index("--store")
    del options[store : store + 2]
    return Process(folder / "store", 0, *options)


@pytest.mark.parametrize("words", [words_of_unit(), words_of_compose()], ids=["unit", "compose"])
def test_their_command_starts_a_service(
    words: list[str], tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    assert [Path(words[0]).name, words[1]] == ["pyedge", "serve"]
    process = started(words, tmp_path, certificate)
    try:
        trusting = ssl.create_default_context(cafile=certificate[0])
        trusting.check_hostname = False
        with urllib.request.urlopen(f"{process.url}/ready", context=trusting, timeout=10) as reply:
            assert reply.status == 200
    finally:
        assert process.stop() in (0, -signal.SIGTERM)  # which uvicorn raises again when it is done


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    copy = tmp_path / "pyedge-serve.service"
    program = words_of_unit()[0]
    copy.write_text(unit().replace(program, "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
