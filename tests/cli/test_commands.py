"""The commands one after another, on digits and on tiny folders of images, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyedge.cli import main, plan
from pyedge.cli.parsing import Parser
from pyedge.cloud.compression.profile import NEAR_ZERO
from pyedge.cloud.network_file import load_network, read_network
from pyedge.cloud.training import loop

pytest.importorskip("sklearn")
Image = pytest.importorskip("PIL.Image")

Run = Callable[..., dict[str, Any]]
TINY = ["--model", "wrn", "--depth", "10", "--widths", "8,12,16", "--option", "stem=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher and a student of digits, and 3 x 20 coloured images that are easy to tell."""
    folder = tmp_path_factory.mktemp("cli")
    random = np.random.default_rng(0)
    for place, name in enumerate(("blue", "green", "red")):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(20):
            # a bright half, left, right or top: standardised images have no brightness
            pixels = random.integers(0, 60, (12 + i % 3, 14, 3)).astype(np.uint8)
            half = (slice(None), slice(0, 6)), (slice(None), slice(8, None)), (slice(0, 5),)
            pixels[half[place]] += 150
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    teacher, student = str(folder / "teacher.pt"), str(folder / "student.pt")
    assert main(["train", "digits", *TINY, "--epochs", "4", "--quiet", "--out", teacher]) == 0
    assert main(["compress", teacher, "digits", "--P", "0.6", "--quiet", "--out", student]) == 0
    return folder


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Run:
    """Run a command line in `folder` with --json, and return the object that it prints."""
    monkeypatch.chdir(folder)

    def run(line: str, *words: str) -> dict[str, Any]:
        assert main([*line.split(), *words, "--json"]) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.fixture
def fails(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Any:
    """Run a command line in `folder` that must fail, and return the last line of its errors."""
    monkeypatch.chdir(folder)

    def fails(code: int, line: str, *words: str) -> str:
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert main([*line.split(), *words]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
        return err.splitlines()[-1]

    return fails


def test_cli_teacher_learned_and_student_is_smaller(folder: Path) -> None:
    teacher, info = load_network(folder / "teacher.pt")
    student, its = load_network(folder / "student.pt")
    assert info.kind == "teacher"
    assert its.kind == "student"
    assert its.classes == tuple("0123456789")
    assert info.record[0]["test_accuracy"] > 0.5
    params = [sum(p.numel() for p in model.parameters()) for model in (teacher, student)]
    assert params[1] < params[0]
    assert [entry["command"] for entry in its.record] == ["train", "compress"]
    assert not list(folder.glob("*.checkpoint"))


def test_cli_plan_compares_thresholds_and_draws(run: Run, folder: Path) -> None:
    found = run("plan teacher.pt digits --P 0.7 --thresholds 1,0.6,0.4 --pictures pictures")
    params = [each["params"] for each in found["thresholds"]]
    assert params == sorted(params, reverse=True)
    assert found["P"] == 0.7
    assert all((folder / path).stat().st_size > 1000 for path in found["pictures"])
    assert len(found["pictures"]) == 3


def test_cli_plan_keeps_to_a_budget(run: Run) -> None:
    found = run("plan teacher.pt digits --max-params 4k --round-to 2")
    assert found["params"] <= 4000
    assert all(layer["width"] % 2 == 0 for layer in found["layers"])


def test_cli_near_zero_is_that_of_plan_by_default() -> None:
    # the command line's help is there without torch, so that it writes the number once more
    parser = Parser("pyedge plan", "")
    plan.add_arguments(parser)
    assert parser.get_default("near_zero") == NEAR_ZERO


def test_cli_plan_counts_what_is_near_zero_only_where_no_zero_is_exact(run: Run) -> None:
    found = run("plan teacher.pt digits --near-zero 0.2")
    assert found["near_zero"] is None  # the teacher has ReLUs
    assert {layer["near_zero_fraction"] for layer in found["layers"]} == {None}
    assert found["params"] == run("plan teacher.pt digits")["params"]


def test_cli_compress_takes_widths_by_name(run: Run, folder: Path) -> None:
    found = run("compress teacher.pt digits --widths groups.1.0.conv1=5 --keep last --out w.pt")
    widths = {layer["conv"]: layer["width"] for layer in found["layers"]}
    assert widths["groups.1.0.conv1"] == 5
    info, _ = read_network(folder / "w.pt")
    assert info.student is not None
    assert info.student.keep == "last"
    assert info.student.widths["groups.1.0.conv1"] == 5


def test_cli_transfer_trains_and_evaluate_agrees(run: Run, folder: Path) -> None:
    line = "transfer student.pt --teacher teacher.pt digits --epochs 3 --lr 0.05 --out trained.pt"
    found = run(line)
    rows = found["training"]["history"]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert {"J_1", "J_b", "J_3"} <= rows[0].keys()
    before, _ = load_network(folder / "student.pt")
    after, _ = load_network(folder / "trained.pt")
    assert not torch.equal(
        before.state_dict()["net.stem.weight"], after.state_dict()["net.stem.weight"]
    )
    tested = run("evaluate trained.pt digits --classes 3,8")
    assert tested["accuracy"] == pytest.approx(found["test_accuracy"])
    assert tested["count"] == found["images"]["test"]
    right = sum(tested["confusion"][i][i] for i in range(10))
    assert right / tested["count"] == pytest.approx(tested["accuracy"])
    assert set(tested["selected"]) == {"classes", "these", "others", "mean"}


def test_cli_transfer_of_the_last_convs_moves_nothing_else(run: Run, folder: Path) -> None:
    found = run(
        "transfer student.pt --teacher teacher.pt digits --only-classes 3,4 --trainable last_conv "
        "--batch-norm frozen --steps 3 --no-labels --result best --eval-every 1 --out device.pt"
    )
    assert set(found["test_accuracy_by_part"]) == {"these classes", "the others", "mean of the two"}
    student, _ = load_network(folder / "student.pt")
    learner, _ = load_network(folder / "device.pt")
    trainable = (*student.last_convs, student.classifier)
    for name, value in student.state_dict().items():
        if name.rpartition(".")[0] not in trainable:
            assert torch.equal(value, learner.state_dict()[name]), name


@pytest.mark.parametrize("method", ["fitnet", "labels"])
def test_cli_transfer_has_the_methods_to_compare_with(run: Run, method: str) -> None:
    teacher = "" if method == "labels" else " --teacher teacher.pt"
    found = run(f"transfer student.pt{teacher} digits --method {method} --steps 4 --out other.pt")
    assert found["method"] == method
    assert found["training"]["steps"] == 4


def test_cli_folders_of_images_of_own_code_and_of_part_of_the_classes(
    run: Run, fails: Any, folder: Path
) -> None:
    (folder / "nets.py").write_text(
        "from pyedge.models import wrn\n"
        "def build(num_classes, wide=8):\n"
        "    return wrn(10, widths=(8, wide, 16), stem=8, num_classes=num_classes)\n"
    )
    (folder / "some" / "red").mkdir(parents=True)
    for path in (folder / "photos" / "red").iterdir():
        (folder / "some" / "red" / path.name).write_bytes(path.read_bytes())
    own = ["--model", "nets.py:build"]
    found = run(
        "train photos --size 8 --epochs 12 --batch-size 16 --augment none --option wide=10 "
        "--out own.pt",
        *own,
    )
    assert found["classes"] == ["blue", "green", "red"]
    assert found["images"] == {"train": 42, "val": 6, "test": 12}
    assert found["test_accuracy"] > 0.6
    assert "if you trust it, add --model nets.py:build" in fails(2, "evaluate own.pt photos")
    whole = run("evaluate own.pt photos --part all", *own)
    part = run("evaluate own.pt some --part all", *own)
    assert part["count"] == 20
    assert part["per_class"][:2] == [None, None]  # ids are those of the network, by name
    assert part["per_class"][2] == pytest.approx(whole["per_class"][2])
    run("compress own.pt photos --P 0.5 --out own_student.pt", *own)
    (folder / "some" / "unsorted").mkdir()
    for path in (folder / "photos" / "blue").iterdir():
        (folder / "some" / "unsorted" / path.name).write_bytes(path.read_bytes())
    assert "classes that own_student.pt does not know: unsorted" in fails(
        2, "transfer own_student.pt --teacher own.pt some --out x.pt", *own
    )
    found = run(
        "transfer own_student.pt --teacher own.pt some --no-labels --steps 2 --out x.pt", *own
    )
    assert found["images"]["train"] == 40
    assert found["test_accuracy"] is None


def test_cli_weights_are_taken_over_without_training(run: Run, folder: Path) -> None:
    model, info = load_network(folder / "teacher.pt")
    torch.save(model.state_dict(), folder / "weights.pth")
    line = "train digits --weights weights.pth --epochs 0 --out again.pt"
    found = run(line, *TINY)
    assert found["training"] is None
    assert found["test_accuracy"] == pytest.approx(info.record[0]["test_accuracy"])


def test_cli_interrupted_training_resumes_to_the_same_bits(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    line = "train digits --epochs 3 --seed 5"
    run(f"{line} --out whole.pt", *TINY)
    evaluate, calls = loop.evaluate_from, []

    def interrupting(*arguments: Any, **keywords: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_from", interrupting)
        assert main([*line.split(), *TINY, "--quiet", "--out", "halves.pt"]) == 130
    assert capsys.readouterr().err == (
        "pyedge train: interrupted; the same command with --resume goes on\n"
    )
    assert not (folder / "halves.pt").exists()
    assert (folder / "halves.pt.checkpoint").exists()
    run(f"{line} --resume --out halves.pt", *TINY)
    assert not (folder / "halves.pt.checkpoint").exists()
    states = [read_network(folder / name)[1] for name in ("whole.pt", "halves.pt")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        (2, "train digit --out x.pt", "digit: no such file or folder (did you mean digits?)"),
        (2, "train digits --model wrn_16 --out x.pt", "did you mean wrn_16_1?"),
        (2, "train digits --model wrn_10_1 --option dropuot=1 --out x.pt", "mean dropout?"),
        (2, "train digits --model nots.py:build --out x.pt", "nots.py: no such file"),
        (2, "train digits --model json:bild --out x.pt", "json has no function 'bild'"),
        (2, "train digits --model json:loads --out x.pt", "--model json:loads"),
        (2, "train digits --out no/x.pt", "there is no folder no"),
        (2, "train digits --size 32 --out x.pt", "size: wanted 8 or none"),
        (2, "train photos --out x.pt", "--size"),
        (2, "plan student.pt digits", "student.pt is a student, wanted a teacher"),
        (2, "plan teacher.pt photos", "photos has images of 3x8x8, teacher.pt takes 1x8x8"),
        (2, "plan teacher.pt digits --widths 1,2", "widths has 2 entries"),
        (2, "plan teachr.pt digits", "did you mean teacher.pt?"),
        (2, "plan teacher.pt digits --pictures /dev/null", "--pictures /dev/null: "),
        (2, "plan teacher.pt digits --pictures teacher.pt", "teacher.pt is not a folder"),
        (2, "demo --out teacher.pt", "--out teacher.pt: "),
        (2, "demo --out teacher.pt/in", "teacher.pt is not a folder"),
        (1, "plan photos/red/0.png digits", "not a network file of pyedge"),
        (2, "compress teacher.pt digits --P 0.8 --out teacher.pt", "would replace teacher.pt"),
        (2, "transfer teacher.pt --teacher teacher.pt digits --out x.pt", "pyedge compress"),
        (2, "transfer student.pt --teacher teacher.pt digits --trainable lastconv --out x.pt",
         "did you mean last_conv?"),
        (2, "transfer student.pt --teacher teacher.pt digits --only-classes 3,x --out x.pt",
         "no class is named 'x'"),
        (1, "transfer student.pt --teacher teacher.pt digits --lr 1e30 --steps 9 --out x.pt",
         "was not finite at step"),
        (2, "evaluate teacher.pt digits --classes 12", "no class is named '12'"),
    ],
)  # fmt: skip
def test_cli_failures_are_one_line_and_write_nothing(
    code: int, line: str, message: str, fails: Any
) -> None:
    error = fails(code, line)
    assert message in error
    assert error.startswith(f"pyedge {line.split()[0]}: error: ")


def test_cli_names_own_code_that_raises(fails: Any, folder: Path) -> None:
    (folder / "bad.py").write_text("def build(num_classes):\n    raise RuntimeError('boom')\n")
    error = fails(2, "train digits --model bad.py:build --out x.pt")
    assert "--model bad.py:build raised RuntimeError: boom" in error


def test_cli_errors_of_the_program_itself_are_one_line_too(
    fails: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any, **keywords: Any) -> Any:
        raise AttributeError("'NoneType' object\nhas no attribute 'x'")

    monkeypatch.setattr("pyedge.cli.networks.load_network", broken)
    error = fails(1, "evaluate teacher.pt digits")
    assert "AttributeError: 'NoneType' object has no attribute 'x' (PYEDGE_DEBUG=1" in error
    monkeypatch.setenv("PYEDGE_DEBUG", "1")
    assert main(["evaluate", "teacher.pt", "digits"]) == 1
    assert "Traceback" in capsys.readouterr().err
