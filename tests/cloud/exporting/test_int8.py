"""pyedge.export(int8=): weights in 8 bits and scales, by images in any form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import pyedge
from pyedge import kernels
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.export import export
from pyedge.cloud.exporting.with_int8 import with_int8_of
from pyedge.data import BatchLoader, ImageSet
from pyedge.edge.learner import EdgeLearner
from pyedge.student.archive import read_student
from pyedge.student.features import features_digest
from pyedge.student.file import StudentFile
from tests.support.student_files import same
from tests.support.tiny_nets import images as noise
from tests.support.tiny_nets import tiny_wrn


@pytest.fixture(scope="module")
def student() -> Student:
    return pyedge.compress(tiny_wrn(), 0.5, noise())


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (40, *noise().shape[1:])
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def plain(student: Student, tmp_path_factory: pytest.TempPathFactory) -> StudentFile:
    return write(student, tmp_path_factory.mktemp("plain"))


def write(student: Student, path: Path, **options: Any) -> StudentFile:
    found = export(student, path / "s.pyedge", preprocessing="image", **options)
    assert found is not None
    return found


def test_export_int8_writes_weights_in_8_bits_and_scales(
    student: Student, plain: StudentFile, pixels: Tensor, tmp_path: Path
) -> None:
    found = write(student, tmp_path, int8=pixels)
    assert same(read_student(tmp_path / "s.pyedge"), found)
    convolutions = [node["name"] for node in found.nodes if node["op"] == "conv2d"]
    assert list(found.input_scales) == convolutions
    assert set(found.weight_scales) == {f"{name}.weight" for name in convolutions}
    for name, array in plain.arrays.items():
        scales = found.weight_scales.get(name)
        if scales is None:
            assert np.array_equal(found.arrays[name], array)
            continue
        most = 0.5001 * scales.reshape(-1, 1, 1, 1)
        assert (np.abs(found.arrays[name] - array) <= most).all()
    assert [entry["command"] for entry in found.record][-2:] == ["export", "add_int8"]


def test_export_int8_answers_are_near_torchs(
    student: Student, pixels: Tensor, tmp_path: Path
) -> None:
    before = kernels.isa()
    write(student, tmp_path, int8=pixels)
    x = pixels.float()
    flat = x.flatten(1)
    x = (x - flat.mean(1).reshape(-1, 1, 1, 1)) / flat.std(1, correction=0).reshape(-1, 1, 1, 1)
    with torch.no_grad():
        wanted = student(x).numpy()
    try:
        kernels.set_isa(before if kernels.int8_type() else "reference")
        learner = EdgeLearner(tmp_path / "s.pyedge", precision="int8")
        found = learner.logits(pixels.numpy())
    finally:
        kernels.set_isa(before)
    assert 1e-4 < np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 6e-2


def test_export_int8_takes_images_in_any_form(plain: StudentFile, pixels: Tensor) -> None:
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    wanted = with_int8_of(plain, pixels).input_scales
    names = [str(i) for i in range(5)]
    forms: dict[str, Any] = {
        "array": pixels.numpy(),
        "pair": (pixels, labels),
        "image set": ImageSet(pixels, labels, names),
        "DataLoader": DataLoader(TensorDataset(pixels, labels), 16),
        "list of batches": [(pixels[:30], labels[:30]), (pixels[30:], labels[30:])],
        "batches without labels": [pixels[:30], pixels[30:]],
    }
    for name, form in forms.items():
        assert with_int8_of(plain, form).input_scales == wanted, name
    # these are standardised by torch, not by the engine
    loader = BatchLoader(ImageSet(pixels, labels, names), 16, shuffle=False)
    near = with_int8_of(plain, loader).input_scales
    assert {n: each[1] for n, each in near.items()} == {n: each[1] for n, each in wanted.items()}
    for name, (scale, _) in near.items():
        assert scale == pytest.approx(wanted[name][0], rel=1e-4)


def test_export_int8_reads_no_more_of_a_loader_than_it_looks_at(
    plain: StudentFile, pixels: Tensor
) -> None:
    read = []

    class Endless(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Tensor]:
            while True:
                read.append(len(pixels))
                yield pixels

    found = with_int8_of(plain, DataLoader(Endless(), batch_size=None))
    assert sum(read) <= 256 + 2 * len(pixels)
    assert found.record[-1]["images"] == 256


def test_export_int8_and_statistics_are_of_one_student(
    student: Student, pixels: Tensor, tmp_path: Path
) -> None:
    labels = torch.arange(len(pixels)) % 5
    found = write(student, tmp_path, int8=pixels, statistics=(pixels, labels), expand=None)
    assert found.statistics is not None
    assert found.statistics.digest == features_digest(found)  # of the rounded weights
    assert found.weight_scales


def test_export_int8_refuses_what_is_none(
    student: Student, plain: StudentFile, pixels: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"export: int8: images: wanted at least one, got none"):
        with_int8_of(plain, pixels[:0])
    with pytest.raises(ValueError, match=r"export: int8: wanted at least one image, got none"):
        with_int8_of(plain, DataLoader(TensorDataset(pixels[:0]), 4))
    with pytest.raises(ValueError, match=r'export: format: wanted "pyedge" for int8, got "onnx"'):
        export(student, tmp_path / "s.onnx", format="onnx", int8=pixels)
    assert not list(tmp_path.iterdir())
