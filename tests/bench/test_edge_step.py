"""bench/edge_step: its students are the paper's, its torch rows agree, its figures are counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.shared.contest import Answer, differences, falls, relative, require
from bench.shared.floor import count_macs, floor_ms
from bench.shared.inputs import make_inputs, squares
from bench.shared.student_file import student_file
from bench.shared.students import WIDTHS, make_student
from bench.step import peak_memory
from tests.support.paths import ROOT

PARAMS = {
    "resnet1": 2_000_968,
    "resnet2": 1_422_850,
    "resnet3": 595_174,
    "resnet4": 226_262,
    # the convs of Table 1's VGG-16 1 and 4, and a linear layer for 32 x 32 images and 10 classes
    "vgg1": 5_547_590 - (416 * 49 + 1) * 102 + (416 + 1) * 10,
    "vgg4": 969_512 - (96 * 49 + 1) * 102 + (96 + 1) * 10,
}


@pytest.mark.parametrize("name", WIDTHS)
def test_students_have_the_papers_parameters_and_fit_the_file_format(name):
    student = make_student(name)
    file = student_file(student)
    assert student.params == file.params == PARAMS[name]
    layers = file.layers()
    assert [layer.shape for layer in layers] == student.shapes
    assert sum(layer.macs for layer in layers) == count_macs(student, ()).forward
    assert set(student.last_conv) <= set(student.full)


@pytest.mark.parametrize(
    "name", ["resnet2", pytest.param("resnet4", marks=pytest.mark.exhaustive), "vgg4"]
)
def test_students_compute_what_those_of_compress_compute(name):
    torch = pytest.importorskip("torch")
    import pyedge
    from bench.step.torch_student import TorchStudent
    from pyedge import models

    ours = make_student(name)
    # WRN-10-10 and WRN-28-10 have one student: a block a group is left of either
    if name.startswith("resnet"):
        teacher = models.wrn(28 if name == "resnet4" else 10, 10).eval()
    else:
        teacher = models.vgg16(10, batch_norm=False, input_size=32, hidden=None).eval()
    x = torch.randn(2, 3, 32, 32)
    theirs = pyedge.compress(teacher, images=x, widths=list(WIDTHS[name])).eval()
    arrays = {f"net.{key}": torch.from_numpy(a) for key, a in ours.arrays.items()}
    arrays |= {f"kept_{g}": torch.from_numpy(kept) for g, kept in enumerate(ours.kept)}
    missing, unexpected = theirs.load_state_dict(arrays, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    assert [f"net.{conv}" for conv in ours.last_convs] == list(theirs.last_convs)
    with torch.no_grad():
        logits, taps = theirs.forward_taps(x)
        our_logits, our_taps = TorchStudent(ours, ())(x)
    torch.testing.assert_close(our_logits, logits, rtol=1e-5, atol=1e-5)
    for came, wanted in zip(our_taps, taps, strict=True):
        torch.testing.assert_close(came, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet4", "vgg4"])
def test_torch_rows_agree_with_float64_autograd_and_learn(name):
    pytest.importorskip("torch")
    from bench.step import torch_rows as rows

    student = make_student(name)
    inputs = make_inputs(student, 2)
    for trainable in (student.last_conv, student.full):
        wanted = rows.reference(student, inputs, trainable)
        assert wanted.gradients.keys() == set(student.parameters(trainable))
        for stepper, tolerance in (
            (rows.literal(student, inputs, trainable), 1e-3),  # float32 sums of whole maps
            (rows.best(student, inputs, trainable), 1e-5),
            (rows.best(student, inputs, trainable, "nchw"), 1e-5),
        ):
            assert max(differences(stepper.answer(), wanted).values()) < tolerance
            first, last = falls(name, stepper, 3)
            assert last < first
    logits = rows.reference_logits(student, inputs)
    for way in rows.inference_ways(student, inputs, compiled=False).values():
        assert relative(way(), logits) < 1e-5


def test_reference_matches_finite_differences_of_the_literal_loss():
    torch = pytest.importorskip("torch")
    from bench.step import torch_rows as rows

    student = make_student("vgg4")
    inputs = make_inputs(student, 1)
    gradient = rows.reference(student, inputs, student.last_conv).gradients["classifier.weight"]
    stepper = rows.literal(student, inputs, student.last_conv)
    weight = stepper.net._array(student.nodes[-1], "weight")
    step = 1e-2 * torch.from_numpy(gradient / np.linalg.norm(gradient)).float()
    losses = []
    for sign in (1, -2):
        weight.data += sign * step
        losses.append(stepper.answer().losses["loss"])
    slope = (losses[0] - losses[1]) / 2e-2
    assert slope == pytest.approx(np.linalg.norm(gradient), rel=2e-2)


def test_full_maps_hold_the_cut_ones_and_have_the_norms_that_are_told():
    student = make_student("resnet4")
    inputs = make_inputs(student, 2)
    for group, kept in enumerate(inputs.kept):
        maps = inputs.full_maps(group)
        assert len(maps) == 4
        for full, cut, norm in zip(maps, inputs.maps[group], inputs.norms[group], strict=True):
            assert full.shape[1] == student.teacher_channels[group]
            assert np.array_equal(full[:, kept], cut.transpose(0, 3, 1, 2))
            np.testing.assert_allclose(squares(full), norm, rtol=1e-6)


def test_standardised_images_have_mean_0_and_deviation_1():
    x = make_inputs(make_student("vgg4"), 3).standardised()
    assert np.abs(x.mean((1, 2, 3))).max() < 1e-6
    assert np.abs(x.std((1, 2, 3)) - 1).max() < 1e-6


def test_macs_are_counted_only_where_something_learns():
    student = make_student("resnet4")
    nothing = count_macs(student, ())
    assert nothing.input_gradients == nothing.weight_gradients == 0
    full = count_macs(student, student.full)
    stem = 3 * 12 * 9 * 32 * 32
    # nothing is below the stem, so its input needs no gradient; every weight does
    assert full.weight_gradients == full.forward
    assert full.input_gradients == full.forward - stem
    head = count_macs(student, ["classifier"])
    assert head.weight_gradients == 10 * 498
    assert head.input_gradients == 0


@pytest.mark.parametrize(
    ("name", "ms"), [("resnet1", 1202), ("resnet2", 902), ("resnet3", 416), ("resnet4", 184)]
)
def test_last_conv_step_costs_three_to_four_fifths_of_the_full_one(name, ms):
    student = make_student(name)
    last, full = (count_macs(student, names) for names in (student.last_conv, student.full))
    assert 0.74 < last.total / full.total < 0.81
    assert floor_ms(last, 128, 250.0) == pytest.approx(ms, abs=0.5)


def test_checks_stop_the_benchmark_for_a_wrong_answer():
    right = Answer({"loss": 1.0}, {"w": np.ones(3)})
    wrong = Answer({"loss": 1.0}, {"w": np.array([1.0, 1.0, 1.1])})
    assert max(differences(right, right).values()) == 0
    found = differences(wrong, right)
    assert found["gradients"] == pytest.approx(0.1 / 3**0.5)
    with pytest.raises(SystemExit, match="x is wrong by gradients"):
        require("x", found, {"gradients": 1e-4, "other": 1.0})
    with pytest.raises(SystemExit, match="loss nan"):
        require("x", {"loss": float("nan")}, {"other": 1e-4})
    with pytest.raises(ValueError, match="other arrays came: v, w"):
        differences(Answer({"loss": 1.0}, {"v": np.ones(3)}), right)

    class Flat:
        def step(self) -> float:
            return 1.0

    with pytest.raises(SystemExit, match=r"loss of x .*not fall.* 3 steps"):
        falls("x", Flat(), 3)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_peak_memory_counts_what_a_step_takes_and_gives_back():
    size = 64 << 20
    np.ones(2 * size, np.uint8)  # an earlier and higher peak, which must not count

    def step() -> None:
        np.ones(size, np.uint8)

    found = peak_memory._peak_of(step)
    if found["method"] != "VmHWM":
        pytest.skip("the high-water mark cannot be set back here")
    assert size - (1 << 20) <= found["peak_bytes"] < size + (8 << 20)


def test_memory_of_our_step_is_what_the_engine_planned():
    found = peak_memory.measure("ours", "resnet4", 8, 1)
    full = peak_memory.measure("ours full", "resnet4", 8, 1)
    if found["method"] != "VmHWM":
        pytest.skip("the high-water mark cannot be set back here")
    # scratch may stay untouched; the interpreter takes a little
    planned = found["planned_bytes"]
    assert 0.75 * planned < found["peak_bytes"] < planned + (2 << 20)
    assert found["peak_bytes"] < full["peak_bytes"]


def test_memory_of_a_torch_step_is_measured_too():
    pytest.importorskip("torch")
    found = peak_memory.measure("eager channels_last", "vgg4", 8, 1)
    # at the least the maps of the first group, 42 x 32 x 32 floats an image
    assert found["peak_bytes"] > 8 * 42 * 32 * 32 * 4


def test_memory_of_a_contestant_that_fails_is_an_error_with_its_reason():
    assert "invalid choice" in peak_memory.measure("ours", "nobody", 1, 1)["error"]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, "--json", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))


def test_edge_step_without_torch_has_our_figures_alone():
    code = "import sys; sys.modules['torch'] = None; from bench.edge_step import main; main()"
    done = run(
        code,
        *[
            "--json",
            "--batch",
            "2",
            "--repeats",
            "2",
            "--threads",
            "1",
            "--student",
            "vgg4",
            "--profile",
        ],
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (row,) = report["rows"]
    assert row["student"] == "vgg4"
    assert row["step_ms"] > 0
    assert row["inference_ms"] > 0
    assert row["floor_fraction"] > 0
    for name in ("vs_literal", "vs_best_torch", "best_torch", "memory_ratio", "inference_vs_torch"):
        assert row[name] is None
    first, last = row["checks"]["ours, loss"]
    assert last < first
    assert report["machine"]["torch"] is None
    assert report["start"]["total_ms"] > 0


def test_edge_step_with_torch_checks_every_row_against_float64():
    pytest.importorskip("torch")
    code = "from bench.edge_step import main; main()"
    done = run(code, "--quick", "--batch=2", "--threads=1", "--student=resnet4", "--no-memory")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    for label in ("ours", "ours full", "eager channels_last", "eager nchw"):
        assert row["checks"][label]["loss"] < 1e-6
        assert row["checks"][label]["gradients"] < 5e-3
    assert row["checks"]["ours full, an image"]["gradients"] < 1e-4
    assert row["gradient_error"] < 1e-4
    assert row["best_torch"] in row["times_ms"]
    for name in ("vs_literal", "vs_best_torch", "frozen_time_ratio", "inference_vs_torch"):
        assert row[name] > 0
