"""What `docs/deploy` has names real options, and runs."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pyedge.cli import serve
from tests.support.paths import ROOT

DEPLOY = ROOT / "docs" / "deploy"
UNIT = DEPLOY / "pyedge-serve.service"


def unit_command() -> list[str]:
    """The words of ExecStart, from `pyedge` on."""
    text = UNIT.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert found is not None
    program, *words = shlex.split(found[1])
    assert program.endswith("/pyedge")
    return words


def compose_command() -> list[str]:
    """The words of the service's command, from `pyedge` on."""
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services, volumes = content["services"], content["volumes"]
    assert set(services) == {"pyedge", "database"}
    for each in services.values():
        for mount in each["volumes"]:
            assert mount.partition(":")[0] in volumes
    assert set(services["pyedge"]["secrets"]) == set(content["secrets"])
    program, *words = shlex.split(services["pyedge"]["command"])
    assert program == "pyedge"
    return words


@pytest.mark.parametrize("words", [unit_command, compose_command])
def test_command_lines_name_real_options(words: object) -> None:
    assert callable(words)
    command, *given = words()
    assert command == "serve"
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    args = parser.parse_args(given)
    assert args.part is None
    assert (args.host, args.port) == ("0.0.0.0", 8765)
    assert args.certificate is not None
    assert args.key is not None
    assert args.store.startswith("/")


def test_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    there = tmp_path / "pyedge"  # it looks for the program
    there.write_text("#!/bin/sh\n", encoding="utf-8")
    there.chmod(0o755)
    text = UNIT.read_text(encoding="utf-8").replace("/opt/pyedge/bin/pyedge", str(there))
    unit = tmp_path / UNIT.name
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, told) == (0, [])
