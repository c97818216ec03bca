"""NaN is refused at once, wherever a network comes in; teachers come in any float dtype."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pyedge
from pyedge.cloud.graph.taps import tap_teacher
from pyedge.cloud.network_file import (
    NetworkInfo,
    StudentSettings,
    load_network,
    save_network,
)
from pyedge.cloud.weights.load import load_weights
from pyedge.data import BatchLoader, ImageSet
from pyedge.errors import FormatError
from pyedge.models import create

CLASSES = ("ant", "bee", "cow")
DTYPES = (torch.float16, torch.bfloat16, torch.float64)


def teacher(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create("wrn", depth=10, widths=(4, 6, 8), stem=4, num_classes=3).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def data() -> ImageSet:
    made = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (16, 3, 8, 8), generator=made, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(16) % 3, CLASSES)


@pytest.fixture(scope="module")
def student(images: Tensor) -> pyedge.Student:
    return pyedge.compress(teacher(), 0.6, images)


@pytest.fixture
def loader(data: ImageSet) -> BatchLoader:
    return BatchLoader(data, 8)


def spoilt(model: nn.Module, name: str = "stem.weight", value: float = float("nan")) -> nn.Module:
    """Copy a network, and put a value in two places of one tensor."""
    model.state_dict()[name].view(-1)[:2] = value
    return model


FAULTS = {
    "NaN in a weight": ("stem.weight", float("nan"), r"holds NaN in {} \(2 of 108 values\)"),
    "infinity": ("groups.0.0.conv1.weight", float("inf"), r"holds infinity in {} \(2 of 144"),
    "running mean": ("bn.running_mean", float("nan"), r"holds NaN in {} \(2 of 8 values\)"),
    "running variance": ("bn.running_var", float("inf"), r"holds infinity in {} \(2 of 8"),
    "negative variance": ("bn.running_var", -1.0, r"holds negative variances in {} \(2 of 8"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_plan_and_compress_refuse_what_cannot_be_computed_with(fault: Any, images: Tensor) -> None:
    name, value, message = fault
    for function in (pyedge.plan, pyedge.compress):
        with pytest.raises(ValueError, match=f"^plan: model {message.format(name)}"):
            function(spoilt(teacher(), name, value), 0.6, images)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_load_weights_refuses_what_cannot_be_computed_with(fault: Any, tmp_path: Path) -> None:
    name, value, message = fault
    torch.save({"net": spoilt(teacher(), name, value).state_dict()}, tmp_path / "w")
    model = teacher(1)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    with pytest.raises(FormatError, match=f"w: the file {message.format('net.' + name)}"):
        load_weights(model, tmp_path / "w")
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_nan_is_counted_over_all_tensors(images: Tensor) -> None:
    model = spoilt(spoilt(spoilt(teacher()), "bn.bias"), "classifier.weight", float("inf"))
    with pytest.raises(ValueError, match=r"NaN in stem\.weight .*, .*2 other tensors"):
        pyedge.compress(model, 0.6, images)


def test_nan_stops_training_evaluation_and_transfer_at_their_start(
    loader: BatchLoader, student: pyedge.Student, images: Tensor
) -> None:
    bad = pyedge.compress(teacher(), 0.6, images)
    spoilt(bad, "net.stem.weight")
    calls: dict[str, Callable[[], object]] = {
        r"train: model holds NaN in stem\.weight": lambda: pyedge.train(
            spoilt(teacher()), loader, progress=False
        ),
        r"evaluate: model holds NaN in stem\.weight": lambda: pyedge.evaluate(
            spoilt(teacher()), loader
        ),
        r"transfer: teacher holds NaN in stem\.weight": lambda: pyedge.transfer(
            student, spoilt(teacher()), loader, progress=False
        ),
        r"transfer: student holds NaN in net\.stem\.weight": lambda: pyedge.transfer(
            bad, teacher(), loader, progress=False
        ),
        r"fitnet: teacher holds NaN in stem\.weight": lambda: pyedge.fitnet(
            student, spoilt(teacher()), loader, progress=False
        ),
        r"transfer: teacher holds NaN in stem\.weight ": lambda: pyedge.transfer(
            student, spoilt(tap_teacher(teacher(), images), "net.stem.weight"), loader
        ),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=f"^{message}"):
            call()


def test_nan_is_written_into_no_pack_and_no_student(
    tmp_path: Path, data: ImageSet, student: pyedge.Student, images: Tensor
) -> None:
    with pytest.raises(ValueError, match=r"^make_knowledge: teacher holds NaN in stem\.weight"):
        pyedge.make_knowledge(student, spoilt(teacher()), data, tmp_path / "pack")
    bad = spoilt(pyedge.compress(teacher(), 0.6, images), "net.stem.weight")
    for form in ("pyedge", "onnx"):
        with pytest.raises(ValueError, match=r"^export: student .*NaN in net\.stem\.weight"):
            pyedge.export(bad, tmp_path / "s", format=form, classes=CLASSES)
    assert not list(tmp_path.iterdir())


def test_infinity_in_a_mask_is_no_fault(images: Tensor) -> None:
    """A buffer that takes classes out of the answer is meant to hold it."""
    model = teacher()
    model.register_buffer("mask", torch.tensor([0.0, float("-inf"), 0.0]))
    assert pyedge.compress(model, 0.6, images).params
    model.register_buffer("mask", torch.tensor([0.0, float("nan"), 0.0]))
    with pytest.raises(ValueError, match="NaN in mask"):
        pyedge.compress(model, 0.6, images)


def test_weights_on_the_meta_device_are_named(images: Tensor, loader: BatchLoader) -> None:
    with torch.device("meta"):
        model = create("wrn", depth=10, widths=(4, 6, 8), stem=4, num_classes=3)
    for call in (
        lambda: pyedge.compress(model, 0.6, images),
        lambda: pyedge.evaluate(model, loader),
        lambda: pyedge.train(model, loader, progress=False),
    ):
        with pytest.raises(ValueError, match=r"no values in stem\.weight, .*meta"):
            call()


def test_network_file_of_code_with_empty_parameters_is_opened(
    tmp_path: Path, images: Tensor, student: pyedge.Student
) -> None:
    """A builder may leave memory as it is, since weights come from the file."""
    chosen = pyedge.plan(teacher(), 0.6, images)
    info = NetworkInfo(
        builder="own.py:build",
        classes=CLASSES,
        input_shape=(3, 8, 8),
        student=StudentSettings.of(chosen),
    )
    save_network(tmp_path / "s.pt", student, info)
    opened, _ = load_network(tmp_path / "s.pt", build=lambda: spoilt(teacher()))
    with torch.no_grad():
        assert torch.equal(opened(images), student(images))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_teachers_of_any_float_dtype_are_cut_as_their_float32_copies(
    dtype: torch.dtype, images: Tensor
) -> None:
    wanted = pyedge.compress(teacher().to(dtype).float(), 0.6, images)
    for given in (images, images.double()):
        model = teacher().to(dtype)
        found = pyedge.compress(model, 0.6, given)
        assert {v.dtype for v in found.parameters()} == {torch.float32}
        assert {v.dtype for v in model.parameters()} == {dtype}
        with torch.no_grad():
            assert torch.equal(found(images), wanted(images))
    assert pyedge.find_structure(teacher().to(dtype), images.to(dtype)).groups


def half_of_it(model: nn.Module) -> nn.Module:
    """16 bits for convolutions and the classifier, float32 for batch norms, as apex left them."""
    for module in model.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.half()
    return model


CASTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "float16": lambda model: model.half(),
    "bfloat16": lambda model: model.bfloat16(),
    "float64": lambda model: model.double(),
    "mixed": half_of_it,
}


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_teachers_of_any_float_dtype_teach_as_their_float32_copies(
    cast: Callable[[nn.Module], nn.Module],
    images: Tensor,
    data: ImageSet,
    student: pyedge.Student,
    tmp_path: Path,
) -> None:
    digests, losses = [], []
    for model in (cast(teacher()), cast(teacher()).float()):
        before = [value.dtype for value in model.parameters()]
        learns = pyedge.compress(teacher(), 0.6, images)
        result = pyedge.transfer(learns, model, BatchLoader(data, 8), steps=2, progress=False)
        losses.append(result.history[-1]["loss"])
        pyedge.fitnet(learns, model, BatchLoader(data, 8), steps=1, progress=False)
        pack = pyedge.make_knowledge(student, model, data, tmp_path / "pack", progress=False)
        digests.append(pack.batch(np.arange(16))["logits"].tobytes())
        assert [value.dtype for value in model.parameters()] == before
    assert losses[0] == losses[1]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tapped_teachers_take_images_of_their_first_dtype(
    dtype: torch.dtype, images: Tensor
) -> None:
    model = teacher().to(dtype)
    tapped = tap_teacher(model, images.to(dtype))
    with torch.no_grad():
        logits, maps = tapped(images.to(dtype))
        wanted = teacher().to(dtype).float()(images.to(dtype).float())
    assert torch.equal(logits, wanted)
    assert maps[0][0].dtype == torch.float32
    assert not tapped.net.training
    assert tap_teacher(model.train(), images).net.training


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_evaluate_gives_images_in_the_network_s_dtype(
    dtype: torch.dtype, loader: BatchLoader
) -> None:
    found = pyedge.evaluate(teacher().to(dtype), loader)
    wanted = pyedge.evaluate(teacher().to(dtype).float(), loader)
    assert found.count == 16
    assert found.loss == pytest.approx(wanted.loss, rel=2e-2)  # 8 bits in bfloat16


def test_training_in_16_bits_is_refused_and_in_64_is_not(
    loader: BatchLoader, student: pyedge.Student
) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        with pytest.raises(TypeError, match=rf"^train: .*float32 .*stem\.weight is {name}"):
            pyedge.train(teacher().to(dtype), loader, progress=False)
    double = teacher().double()
    result = pyedge.train(double, loader, steps=4, lr=0.05, progress=False, val=loader)
    plain = pyedge.train(teacher(), loader, steps=4, lr=0.05, progress=False, val=loader)
    assert result.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=1e-4)
    assert double.get_parameter("stem.weight").dtype == torch.float64


def test_students_of_other_dtypes_are_refused_in_transfer(
    loader: BatchLoader, images: Tensor
) -> None:
    for dtype in DTYPES:
        learns = pyedge.compress(teacher(), 0.6, images).to(dtype)
        with pytest.raises(TypeError, match=r"^transfer: student: .*float32 .*net\."):
            pyedge.transfer(learns, teacher(), loader, progress=False)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float32], ids=str)
def test_load_weights_makes_float32_of_any_float(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save(teacher().to(dtype).state_dict(), tmp_path / "w")
    model = teacher(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # float32 numbers in float64 lose nothing
        load_weights(model, tmp_path / "w")
    wanted = teacher().to(dtype).float().state_dict()
    assert all(torch.equal(value, wanted[n]) for n, value in model.state_dict().items())


def test_load_weights_tells_of_digits_that_are_lost(tmp_path: Path) -> None:
    state = teacher().double().state_dict()
    state["stem.weight"] = state["stem.weight"] / 3
    torch.save(state, tmp_path / "w")
    model = teacher(1)
    with pytest.warns(UserWarning, match=r"float64 .*float32 in 1 tensors"):
        load_weights(model, tmp_path / "w")
    assert torch.equal(model.get_parameter("stem.weight"), state["stem.weight"].float())
    state["stem.weight"][0] = 1e300
    torch.save(state, tmp_path / "w")
    with pytest.raises(FormatError, match=r"stem\.weight .*too large for float32"):
        load_weights(teacher(1), tmp_path / "w")


def test_load_weights_refuses_integers_and_quantised_tensors(tmp_path: Path) -> None:
    state = teacher().state_dict()
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "int8": lambda value: (value * 100).to(torch.int8),
        "qint8": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
        "complex64": lambda value: value.to(torch.complex64),
    }
    for name, convert in kinds.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to give such tensors up
            torch.save({**state, "stem.weight": convert(state["stem.weight"])}, tmp_path / "w")
        with pytest.raises(FormatError, match=rf"stem\.weight is {name}, wanted floats"):
            load_weights(teacher(1), tmp_path / "w")


def test_load_weights_tells_of_tensors_of_zeros(tmp_path: Path) -> None:
    state = {
        n: torch.zeros_like(v) if v.dim() > 1 else v for n, v in teacher().state_dict().items()
    }
    torch.save(state, tmp_path / "w")
    with pytest.warns(UserWarning, match=r"stem\.weight .*zeros alone, one of \d+"):
        load_weights(teacher(1), tmp_path / "w")


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_network_files_of_any_float_dtype_are_opened(
    cast: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    options = {"depth": 10, "widths": [4, 6, 8], "stem": 4, "num_classes": 3}
    info = NetworkInfo(builder="wrn", options=options, classes=CLASSES, input_shape=(3, 8, 8))
    save_network(tmp_path / "t.pt", cast(teacher()), info)
    opened, _ = load_network(tmp_path / "t.pt")
    wanted = cast(teacher()).float().state_dict()
    assert all(torch.equal(value, wanted[n]) for n, value in opened.state_dict().items())


def test_weights_that_are_no_network_file_tell_how_to_make_one(tmp_path: Path) -> None:
    torch.save(teacher().state_dict(), tmp_path / "w.pth")
    with pytest.raises(FormatError, match=r"pyedge train DATA .*--weights"):
        load_network(tmp_path / "w.pth")
