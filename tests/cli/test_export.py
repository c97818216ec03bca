"""pyedge export and pyedge inspect: from a network file to a student file, and a look into it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pyedge
from pyedge import kernels, models
from pyedge.cli import main
from pyedge.cloud.network_file import (
    NetworkInfo,
    StudentSettings,
    load_network,
    save_network,
)
from pyedge.student.archive import read_student, write_student
from tests.support.student_files import every_operator

OPTIONS = {"depth": 10, "widths": [6, 8, 10], "stem": 4, "num_classes": 3, "in_channels": 1}
CLASSES = ("cat", "dog", "mug")
LAST = ["groups.0.0.conv2", "groups.1.0.conv2", "groups.2.0.conv2", "classifier"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher.pt, student.pt and whole.pyedge."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    teacher = models.create("wrn", **OPTIONS)
    images = torch.randn(16, 1, 8, 8)
    teacher.train()(images)
    info = NetworkInfo(
        builder="wrn",
        options=OPTIONS,
        classes=CLASSES,
        input_shape=(1, 8, 8),
        record=({"command": "train", "seed": 0},),
    )
    save_network(folder / "teacher.pt", teacher.eval(), info)
    plan = pyedge.plan(teacher, 0.5, images)
    settings = StudentSettings.of(plan)
    fields = {each: getattr(info, each) for each in info.__dataclass_fields__}
    save_network(folder / "student.pt", plan.build(), NetworkInfo(**fields | {"student": settings}))
    write_student(every_operator(), folder / "whole.pyedge")
    return folder


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line in `folder`; return its exit code, standard output and errors."""
    monkeypatch.chdir(folder)

    def run(line: str) -> tuple[int, str, str]:
        code = main(line.split())
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def test_cli_export_writes_what_the_student_predicts(run: Any, folder: Path) -> None:
    code, out, err = run("export student.pt --out s.pyedge --json")
    assert code == 0, err
    told = json.loads(out)
    file = read_student(folder / "s.pyedge")
    student, _ = load_network(folder / "student.pt")
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        wanted = student(x)
    np.testing.assert_allclose(file.engine().predict(x.numpy()), wanted, rtol=1e-3, atol=1e-4)
    assert file.classes == CLASSES
    assert file.preprocessing["kind"] == "image"
    assert [entry["command"] for entry in file.record] == ["train", "export"]
    assert told["trainable"] == list(file.trainable) == LAST
    assert told["params"] == file.params
    assert told["bytes"] == (folder / "s.pyedge").stat().st_size
    assert 0 < told["gradient_error"] < 1e-4


def test_cli_export_trainable_by_word_and_by_name(run: Any, folder: Path) -> None:
    assert run("export student.pt --trainable classifier --out t.pyedge")[0] == 0
    assert read_student(folder / "t.pyedge").trainable == ("classifier",)
    code, out, _ = run("export student.pt --trainable stem,classifier --out t.pyedge")
    assert code == 0
    assert "learns on the device: stem, classifier\n" in out
    assert out.endswith("written to t.pyedge\n")
    assert read_student(folder / "t.pyedge").trainable == ("stem", "classifier")


def test_cli_export_int8_and_evaluate_in_8_bits(run: Any, folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8)).astype(np.uint8)
    np.save(folder / "x.npy", pixels)
    np.savez(folder / "xy.npz", images=pixels, labels=np.arange(20) % 3)
    code, out, err = run("export student.pt --int8 x.npy --out i.pyedge --json")
    assert code == 0, err
    told, file = json.loads(out), read_student(folder / "i.pyedge")
    layers = len(file.input_scales)
    assert told["int8"] == {"layers": layers, "arrays": layers}
    assert json.loads(run("inspect i.pyedge --json")[1])["int8"] == told["int8"]
    assert f"8 bits: {layers} layers" in run("inspect i.pyedge")[1]
    assert set(file.input_scales) == {n["name"] for n in file.nodes if n["op"] == "conv2d"}
    assert told["bytes"] == (folder / "i.pyedge").stat().st_size
    _, out, _ = run("export student.pt --int8 x.npy --out i.pyedge")
    assert f"8 bits: {layers} layers" in out
    before = kernels.isa()
    kernels.set_isa("reference")
    try:
        assert run("evaluate i.pyedge xy.npz --precision int8 --json")[0] == 0
    finally:
        kernels.set_isa(before)


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("student.pt --int8 no.npy --out x.pyedge", 2, "no.npy"),
        ("student.pt --int8 x.npy --format onnx --out x.onnx", 2, "--int8 has no meaning"),
        ("student.pt", 2, "missing: --out"),
        ("teacher.pt --out x.pyedge", 2, "teacher.pt is a teacher, wanted a student"),
        ("studnt.pt --out x.pyedge", 2, r"did you mean student.pt?"),
        ("student.pt --out student.pt", 2, "would replace student.pt"),
        ("student.pt --out no/x.pyedge", 2, "there is no folder no"),
        ("student.pt --trainable sten --out x.pyedge", 2, "did you mean stem?"),
        (
            "student.pt --format onnx --trainable all --out x.onnx",
            2,
            "no meaning for --format onnx",
        ),
        (
            "whole.pyedge --out x.pyedge",
            1,
            "got a file of the device's side, as pyedge export writes them",
        ),
    ],
)
def test_cli_export_mistakes_are_told_on_one_line(
    line: str, code: int, message: str, run: Any, folder: Path
) -> None:
    found, out, err = run(f"export {line}")
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert message in err
    assert not (folder / "x.pyedge").exists()


def test_cli_inspect_shows_layers_classes_and_memory(run: Any) -> None:
    code, out, _ = run("inspect whole.pyedge --batch-size 5")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["stem", "conv2d", "3x3", "4x8x6", "36", "1,728"] in lines
    assert ["half2", "max_pool", "2x2,", "stride", "2", "4x4x3", "-", "-"] in lines
    assert ["b.conv", "conv2d", "1x1", "6x4x3", "24", "288", "learns"] in lines
    assert "3 classes: cat, dög, a mug / cup\n" in out
    assert "images 1x8x6, standardised by channel\n" in out
    assert "  b: 6 of the teacher's 12 channels\n" in out
    assert "memory for batches of 5: " in out


def test_cli_inspect_json_has_all_of_it(run: Any) -> None:
    code, out, _ = run("inspect whole.pyedge --batch-size 5 --json")
    assert code == 0
    told, student = json.loads(out), every_operator()
    assert told["params"] == student.params == sum(row["params"] for row in told["layers"])
    assert told["macs"] == sum(row["macs"] for row in told["layers"])
    learns = [row["name"] for row in told["layers"] if row["trainable"]]
    assert learns == told["trainable"] == list(student.trainable)
    assert told["structure_digest"] == student.structure_digest
    assert told["groups"][1] == {"output": "b", "shape": [6, 4, 3], "teacher_channels": 12}
    engine = student.engine()
    assert told["memory"]["predict_bytes"] == engine.memory(5, False)
    assert told["memory"]["learn_bytes"] == engine.memory(5, True)
    assert told["record"] == [dict(entry) for entry in student.record]


def test_cli_inspect_more_images_take_more_memory(run: Any) -> None:
    sizes = [
        json.loads(run(f"inspect whole.pyedge --batch-size {n} --json")[1])["memory"]["learn_bytes"]
        for n in (1, 64)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("student.pt", 1, "student.pt: not a student of pyedge"),
        ("whole.pyedg", 2, "did you mean whole.pyedge?"),
        ("whole.pyedge --batch-size 0", 2, "--batch-size: wanted a whole number from 1"),
    ],
)
def test_cli_inspect_mistakes_are_told_on_one_line(
    line: str, code: int, message: str, run: Any
) -> None:
    found, out, err = run(f"inspect {line}")
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert message in err


def test_cli_inspect_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pyedge.cli import main\n"
        "done = main(); print(sorted(sys.modules), file=sys.stderr); sys.exit(done)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(folder / "whole.pyedge")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3 classes" in done.stdout
    loaded = set(ast.literal_eval(done.stderr))
    assert "pyedge.student.archive" in loaded
    assert not loaded & {"rich", "matplotlib", "lightning_fabric", "torch_pruning"}


def test_cli_export_of_a_student_of_own_code_needs_that_only_without_a_cut(
    run: Any, folder: Path
) -> None:
    (folder / "nets.py").write_text(
        "from pyedge import models\n\ndef build(**options):\n    return models.wrn(**options)\n"
    )
    torch.manual_seed(0)
    teacher: nn.Module = models.create("wrn", **OPTIONS).eval()
    plan = pyedge.plan(teacher, 0.5, torch.randn(8, 1, 8, 8))
    info = NetworkInfo(
        builder="nets.py:build",
        options=OPTIONS,
        classes=CLASSES,
        input_shape=(1, 8, 8),
        student=StudentSettings.of(plan),
    )
    save_network(folder / "own.pt", plan.build(), info)
    # files of version 1 have none
    content = torch.load(folder / "own.pt", weights_only=True)
    del content["cut"]
    torch.save({**content, "version": 1}, folder / "old.pt")
    code, _, err = run("export old.pt --out old.pyedge")
    assert code == 2
    assert "--model nets.py:build" in err
    assert run("export old.pt --model nets.py:build --out old.pyedge")[0] == 0
    assert run("export own.pt --out own.pyedge")[0] == 0
    old, own = read_student(folder / "old.pyedge"), read_student(folder / "own.pyedge")
    assert own.classes == old.classes == CLASSES
    assert own.nodes == old.nodes
    assert all(np.array_equal(own.arrays[name], old.arrays[name]) for name in old.arrays)


def test_cli_export_describes_images(run: Any, folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 1, 8, 8)).astype(np.uint8)
    names = np.array(CLASSES)[np.arange(90) % 3]
    np.savez(folder / "all.npz", images=pixels[:60], labels=names[:60])
    np.savez(folder / "more.npz", images=pixels[60:], labels=names[60:])
    line = "export student.pt --statistics all.npz --held more.npz --expand 20 --seed 3"
    code, out, err = run(f"{line} --out s.pyedge --json")
    assert code == 0, err
    told = json.loads(out)
    assert told["statistics"]["images"] == 60
    assert (told["statistics"]["held"], told["statistics"]["held_counted"]) == (30, 0)
    assert told["expansion"]["width"] == 20
    assert told["expansion"]["seed"] == 3
    file = read_student(folder / "s.pyedge")
    assert [each["command"] for each in file.record][1:] == ["export", "expand", "add_statistics"]
    code, out, _ = run("export student.pt --statistics all.npz --forgettable --out s.pyedge")
    assert code == 0
    assert "statistics of 60 images of 3 classes" in out
    assert "can be forgotten: each class" in out
