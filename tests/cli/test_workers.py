"""--engine ray and what goes with it: what is refused before anything is begun."""

from __future__ import annotations

import sys

import pytest

import pyedge
from pyedge import cli
from tests.support.edge_student import tiny_student
from tests.support.knowledge_case import loud_teacher, pixels

KNOWLEDGE = "knowledge student.pyedge --teacher teacher.pt photos --out pack"


@pytest.fixture
def failed(capsys: pytest.CaptureFixture[str]):
    """Run a command line that fails; return its exit code and what it says."""

    def run(line: str) -> tuple[int, str]:
        code = cli.main(line.split())
        return code, capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (f"{KNOWLEDGE} --workers 2", "--workers needs --engine ray"),
        (f"{KNOWLEDGE} --engine ray --threads 2", "--threads has no meaning for --engine ray"),
        (f"{KNOWLEDGE} --engine ray --workers 0", "--workers: wanted a whole number from 1"),
        (f"{KNOWLEDGE} --engine dask", "invalid choice: 'dask'"),
        ("export s.pt --out s.pyedge --engine ray", "--engine needs --statistics DATA"),
        ("serve --store store --replicas 2", "--replicas needs --engine ray"),
        ("serve --store store --gpus-per-replica 1", "--gpus-per-replica needs --engine ray"),
        ("serve --store store --engine ray --replicas 3:1", "wanted a number from 1, or MIN:MAX"),
        ("serve --store store --engine ray --replicas two", "or MIN:MAX, got 'two'"),
        ("serve --store store --engine ray --gpus-per-replica -1", "--gpus-per-replica"),
    ],
)
def test_what_does_not_go_together_is_refused(failed, tmp_path, monkeypatch, line, wanted) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = failed(line)
    assert code == 2
    assert wanted in told
    assert list(tmp_path.iterdir()) == []


def test_a_clusters_workers_must_be_told(failed, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    code, told = failed(f"{KNOWLEDGE} --engine ray")
    assert code == 2
    assert "missing: --workers N, of the cluster that RAY_ADDRESS names" in told


@pytest.mark.parametrize(
    "line",
    [
        f"{KNOWLEDGE} --engine ray",
        "plan teacher.pt photos --engine ray",
        "compress teacher.pt photos --P 1 --out s.pt --engine ray",
        "export s.pt --out s.pyedge --statistics digits --engine ray",
        "serve --store store --engine ray",
    ],
)
def test_without_ray_the_command_says_how_to_install_it(
    failed, tmp_path, monkeypatch, line
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    code, told = failed(line)
    assert code == 1
    assert told.endswith('needs ray, which is not installed: pip install "pyedge[ray]"')
    assert list(tmp_path.iterdir()) == []


def test_without_ray_a_function_with_workers_says_how_to_install_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'make_knowledge needs ray.*pip install "pyedge\[ray\]"'):
        pyedge.make_knowledge(
            tiny_student(), loud_teacher(), pixels(3), tmp_path / "pack", workers=2, progress=False
        )
    assert list(tmp_path.iterdir()) == []
    for workers, kind in ((0, ValueError), (1.5, TypeError), ("2", TypeError)):
        with pytest.raises(kind, match="make_knowledge: workers: wanted a whole number from 1"):
            pyedge.make_knowledge(
                tiny_student(), loud_teacher(), pixels(3), tmp_path / "pack", workers=workers
            )
