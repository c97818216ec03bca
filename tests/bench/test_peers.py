"""The comparison with other engines: what a worker answers, who is refused, what is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from bench.peers import __main__ as peers  # noqa: E402
from bench.peers.make_task import Right, write  # noqa: E402
from bench.peers.peers import PEERS, Peer  # noqa: E402
from bench.peers.process import Worker, WorkerError  # noqa: E402
from bench.peers.table import markdown, text  # noqa: E402


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Right]:
    folder = tmp_path_factory.mktemp("task")
    return folder, write(folder, "resnet4", 2)


def started(task: tuple[Path, Right], worker: str, variant: str, kind: str) -> Worker:
    return Worker(Path(peers.sys.executable), worker, variant, kind, task[0], 1)


@pytest.mark.parametrize(
    ("worker", "variant"),
    [
        ("ours", "float32"),
        pytest.param("of_torch", "eager", marks=pytest.mark.exhaustive),
    ],
)
def test_workers_answer_rightly(task: tuple[Path, Right], worker: str, variant: str) -> None:
    for kind in ("inference", "step"):
        process = started(task, worker, variant, kind)
        row = {"name": worker, "variant": variant}
        peers._check(process, kind, row, task[1])
        assert 0 <= row[f"{kind}_off"] < 1e-5
        assert process.ask("time")["ms"] > 0
        assert process.ask("peak")["bytes"] > 1e7
        process.close()


def test_a_wrong_answer_is_no_figure(task: tuple[Path, Right]) -> None:
    process = started(task, "ours", "float32", "step")
    wrong = Right(task[1].logits, [2 * loss for loss in task[1].losses])
    with pytest.raises(WorkerError, match=r"answers wrongly, by 0\.5"):
        peers._check(process, "step", {"name": "ours", "variant": "float32"}, wrong)
    process.close()


def test_onnx_is_the_same_network(task: tuple[Path, Right]) -> None:
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    images = np.load(task[0] / "batch.npz")["images"]
    network = reference.ReferenceEvaluator(onnx.load(task[0] / "inference.onnx"))
    (logits,) = network.run(None, {"x": images})
    np.testing.assert_allclose(logits, task[1].logits, rtol=1e-3, atol=1e-4)


def test_what_cannot_run_is_told_with_its_reason(task: tuple[Path, Right]) -> None:
    with pytest.raises(WorkerError, match=r"No module named .*of_nobody"):
        started(task, "of_nobody", "", "step")


def test_peers_that_are_not_installed_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    some = [Peer("pyedge", "pyedge", "ours", variants=("float32",)), PEERS[-1]]
    monkeypatch.setattr(peers, "PEERS", some)
    files = ["--json", "found.json", "--markdown", "page.md"]
    line = ["--student", "resnet4", "--batch", "2", "--threads", "1", "--rounds", "1", *files]
    assert peers.main(line) == 0
    told = capsys.readouterr().out
    assert "nntrainer: not installed here (--install)" in told
    ours, other = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert ours["step_ms"] > 0
    assert ours["inference_ms"] > 0
    assert ours["bytes"] > 1e6
    assert other["absent"]
    assert "| pyedge, float32 |" in (tmp_path / "page.md").read_text()


def test_times_of_a_smaller_batch_are_told() -> None:
    row = {"name": "slow", "step_ms": 200.0, "step_batch": 4, "inference_unable": "no: broken",
           "step_memory": 5_000_000, "aarch64": False, "version": "1"}  # fmt: skip
    base = {"name": "pyedge, float32", "step_ms": 100.0, "inference_ms": 10.0}
    found = {"machine": {"cpu": "a CPU", "isa": "avx512"}, "student": "resnet1", "batch": 8,
             "threads": 2, "rounds": 3, "rows": [base, row]}  # fmt: skip
    for told in (text(found), markdown([found])):
        assert "slow, step: of 4 images, times 2" in told
        assert "200.0 ms, 2.00x" in told
        assert "slow, inference: no: broken" in told
    assert "## ResNet 1" in markdown([found])
