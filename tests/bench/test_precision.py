"""The benchmark of precisions, and the errors of Winograd's forms that they go by."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench import precision, winograd_error
from pyedge import kernels


def test_student_is_compared_in_each_precision(capsys: pytest.CaptureFixture[str]) -> None:
    before = kernels.isa()
    isa = before if kernels.half_type() and kernels.int8_type() else "reference"
    line = ["--student", "resnet4", "--batch", "2", "--repeats", "1", "--json", "--isa", isa]
    try:
        precision.main(line)
    finally:
        kernels.set_isa(before)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert 1e-4 < row["logits_off"]["half"] < 2e-2
    assert 1e-4 < row["logits_off"]["int8"] < 6e-2
    assert row["file_bytes"]["int8"] < 0.32 * row["file_bytes"]["float32"]
    assert set(row["inference_ms"]) == {"float32", "half", "int8"}
    assert 1e-4 < row["gradient_off"] < 2e-2
    assert row["gradient_cosine"] > 0.999
    assert row["weight_bytes"]["half"] < row["weight_bytes"]["float32"]


@pytest.mark.skipif("avx2" not in kernels.available_isas(), reason="a path without it")
def test_half_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    before = kernels.isa()
    try:
        with pytest.raises(SystemExit, match="the avx2 path of this CPU has no half precision"):
            precision.main(["--isa", "avx2"])
    finally:
        kernels.set_isa(before)
    assert capsys.readouterr().out == ""


def test_rounding_in_8_bits_is_off_by_half_a_step_and_has_255_steps() -> None:
    x = np.random.default_rng(0).standard_normal((30, 40))
    found = winograd_error.in_8_bits((1,))(x)
    scale = np.abs(x).max(1, keepdims=True) / 127
    assert (np.abs(found - x) <= 0.5001 * scale).all()
    assert (np.abs(np.rint(found / scale)).max(1) == 127).all()
    positive = winograd_error.in_8_bits((0, 1), signed=False)(np.abs(x))
    assert np.rint(positive / np.abs(x).max() * 255).max() == 255


@pytest.mark.parametrize("form", winograd_error.FORMS)
def test_transforms_make_a_convolution(form: tuple[int, tuple[float, ...]]) -> None:
    m, points = form
    a, b, g = winograd_error.transforms(points)
    random = np.random.default_rng(1)
    x, w = random.standard_normal(m + 2), random.standard_normal(3)
    assert a.T @ ((g @ w) * (b @ x)) == pytest.approx(np.correlate(x, w, "valid"))
