"""pyedge.export(statistics=): a file that describes the features of images, from any source."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pyedge
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.export import export
from pyedge.cloud.shown import remember_classes
from pyedge.data import Augment, BatchLoader, ImageSet
from pyedge.data.augment import standardise_array
from pyedge.edge.learner import EdgeLearner
from pyedge.images.edge_images import EdgeImages
from pyedge.student.archive import read_student
from pyedge.student.features import feature_count
from pyedge.student.file import StudentFile
from tests.support.tiny_nets import images as noise
from tests.support.tiny_nets import tiny_wrn

CLASSES = ("a", "b", "c", "d", "e")


def made(count: int, seed: int = 0, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Classes of bright rows: uint8 [n, c, h, w] and labels [n]."""
    generator = torch.Generator().manual_seed(seed)
    c, h, w = shape or tuple(noise().shape[1:])
    pixels = torch.randint(0, 120, (count, c, h, w), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 5
    for i, label in enumerate(labels.tolist()):
        pixels[i, label % c, label::5] += 100
    return pixels, labels


@pytest.fixture(scope="module")
def student() -> Student:
    return pyedge.compress(tiny_wrn(), 0.5, noise())


def write(student: Student, path: Path, **options: Any) -> StudentFile:
    options = {"classes": CLASSES, "preprocessing": "image", **options}
    found = export(student, path / "s.pyedge", **options)
    assert found is not None
    return found


def same(a: StudentFile, b: StudentFile) -> bool:
    assert a.statistics is not None
    assert b.statistics is not None
    arrays = b.statistics.arrays()
    return a.head == b.head and all(
        np.array_equal(array, arrays[name]) for name, array in a.statistics.arrays().items()
    )


class Pairs(Dataset):
    """A data set of torch, which may name its classes."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images_of, self.labels_of = images, labels

    def __len__(self) -> int:
        return len(self.images_of)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images_of[index], int(self.labels_of[index])


def test_export_statistics_are_those_that_a_device_would_make(
    student: Student, tmp_path: Path
) -> None:
    x, y = made(100)
    found = write(student, tmp_path, statistics=ImageSet(x, y, CLASSES))
    plain = write(student, tmp_path)
    device = pyedge.add_statistics(plain, x.numpy(), y.numpy(), expand="auto")
    assert same(found, device)
    assert found.statistics is not None
    assert found.statistics.counts.tolist() == [20] * 5
    assert found.statistics.forgettable() == ()
    assert [each["command"] for each in found.record] == [
        "export",
        "expand",
        "add_statistics",
    ]
    assert found.record[-1]["images"] == 100
    bare = write(student, tmp_path, statistics=ImageSet(x, y, CLASSES), expand=None)
    assert all(np.array_equal(a, plain.arrays[n]) for n, a in bare.arrays.items())
    logits = [EdgeLearner(each).logits(x.numpy()) for each in (found, plain)]
    assert np.allclose(*logits, atol=1e-4)


@pytest.mark.parametrize(
    "source",
    [
        lambda x, y: (x, y),
        lambda x, y: (x.numpy(), [CLASSES[i] for i in y]),
        lambda x, y: EdgeImages.of(x.numpy(), tuple(x.shape[1:]), y.numpy()),
        lambda x, y: Pairs(x, y),
        lambda x, y: TensorDataset(x, y),
        lambda x, y: DataLoader(Pairs(x, y), batch_size=7, shuffle=True),
        lambda x, y: DataLoader(ImageSet(x, y, CLASSES), batch_size=32),
        lambda x, y: list(zip(x.split(16), y.split(16), strict=True)),
        lambda x, y: [{"image": x, "label": y}],
    ],
)
def test_export_statistics_take_pixels_in_any_form(
    student: Student, tmp_path: Path, source: Any
) -> None:
    x, y = made(60)
    assert same(
        write(student, tmp_path, statistics=source(x, y)),
        write(student, tmp_path, statistics=ImageSet(x, y, CLASSES)),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_export_statistics_of_preprocessed_images_are_those_of_pixels(
    student: Student, tmp_path: Path, dtype: torch.dtype
) -> None:
    x, y = made(60)
    floats = torch.from_numpy(standardise_array(x.numpy())).to(dtype)
    loader = DataLoader(TensorDataset(floats, y), batch_size=16, shuffle=True)
    batches = BatchLoader(ImageSet(x, y, CLASSES), 16, shuffle=True)
    wanted = write(student, tmp_path, statistics=(x, y)).statistics
    assert wanted is not None
    for given in (loader, batches):
        found = write(student, tmp_path, statistics=given).statistics
        assert found is not None
        assert found.counts.tolist() == wanted.counts.tolist()
        # standardised here by torch and there by the engine: the last bits differ
        spread = np.abs(wanted.sums).max()
        assert np.abs(found.sums * found.step - wanted.sums * wanted.step).max() < (
            1e-4 * spread * wanted.step
        )


def test_export_statistics_match_classes_by_name(student: Student, tmp_path: Path) -> None:
    x, y = made(60)
    turned = tuple(reversed(CLASSES))
    wanted = write(student, tmp_path, statistics=(x, y))
    loader = DataLoader(ImageSet(x, 4 - y, turned), batch_size=16)
    assert same(write(student, tmp_path, statistics=loader), wanted)
    named = Pairs(standardise_array(x.numpy()), 4 - y)
    named.classes = turned  # type: ignore[attr-defined]
    found = write(student, tmp_path, statistics=DataLoader(named, batch_size=16)).statistics
    assert found is not None
    assert found.count("a") == 12
    other = ImageSet(x, y, ("a", "b", "c", "d", "mug"))
    with pytest.raises(ValueError, match=r"export: statistics: .* no class mug"):
        write(student, tmp_path, statistics=DataLoader(other, batch_size=16))
    remember_classes(student, CLASSES)
    try:
        with pytest.raises(ValueError, match=r"statistics: class 0 is 'e', .*'a'"):
            write(student, tmp_path, classes=None, statistics=loader)
    finally:
        vars(student).pop("_pyedge_classes")


def test_export_statistics_hold_images_that_are_not_counted(
    student: Student, tmp_path: Path
) -> None:
    x, y = made(100)
    more = made(50, seed=1)
    found = write(student, tmp_path, statistics=(x, y), held=more)
    assert found.statistics is not None
    assert not found.statistics.held_counted.any()
    assert len(found.statistics.held) == 50
    assert found.statistics.counts.sum() == 100
    assert found.record[-1] == {"command": "add_statistics", "images": 100, "held": 50}
    with pytest.warns(UserWarning, match=r"100 of the 100 .*held .*100"):
        write(student, tmp_path, statistics=(x, y), held=(x, y))


def test_export_expanded_classifier_learns(student: Student, tmp_path: Path) -> None:
    x, y = made(200)
    found = write(student, tmp_path, statistics=(x, y), expand=64, seed=3, forgettable=True)
    read = read_student(tmp_path / "s.pyedge")
    assert same(found, read)
    assert read.made == {"expand.weight": 3}
    assert read.record[-2] == {"command": "expand", "width": 64, "seed": 3}
    assert read.statistics is not None
    assert read.statistics.features == 64 + 2 * feature_count(write(student, tmp_path))
    assert read.statistics.forgettable() == CLASSES
    learner = EdgeLearner(read)
    learner.learn(*(each.numpy() for each in made(50, seed=8)))
    assert learner.evaluate(*(each.numpy() for each in made(50, seed=7))).accuracy > 0.5
    learner.forget("b")
    assert learner.classes == ("a", "c", "d", "e")


def test_export_keeps_answers_for_classes_without_an_image(
    student: Student, tmp_path: Path
) -> None:
    x, y = made(100)
    some = x[y < 4], y[y < 4]
    found = write(student, tmp_path, statistics=some)  # its own classifier stays; e can come later
    assert found.statistics is not None
    assert "e" not in found.statistics.classes
    logits = [EdgeLearner(each).logits(x.numpy()) for each in (found, write(student, tmp_path))]
    assert np.allclose(*logits, atol=1e-4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            lambda x, y: BatchLoader(ImageSet(x, y, CLASSES), 20, augment=Augment(flip=True)),
            "statistics: .*images differ",
        ),
        (
            lambda x, y: DataLoader(Pairs(x, y), batch_size=16, drop_last=True),
            "drop_last=True .*12 of 60",
        ),
        (
            lambda x, y: DataLoader(TensorDataset(x / 255, y), batch_size=20),
            "export: statistics: images .*float32",
        ),
        (
            lambda x, y: DataLoader(TensorDataset(x / 50 - 1.6, y), batch_size=20),
            "standardises each image, .*not so",
        ),
    ],
)
def test_export_warns_of_images_that_a_device_will_not_see(
    student: Student, tmp_path: Path, source: Any, message: str
) -> None:
    with pytest.warns(UserWarning, match=message):
        write(student, tmp_path, statistics=source(*made(60)))


def test_export_sees_random_transforms_and_leaves_the_random_state(
    student: Student, tmp_path: Path
) -> None:
    x, y = made(60)

    class Shifted(Pairs):
        def __getitem__(self, index: int) -> tuple[Any, int]:
            pixels, label = super().__getitem__(index)
            return pixels.roll(int(torch.randint(4, ())), -1), label

    data = Shifted(x, y)
    torch.manual_seed(0)
    assert len([data[i] for i in range(len(data))]) == 60
    after = torch.random.get_rng_state()
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="the images differ each time"):
        write(student, tmp_path, statistics=data)
    assert torch.equal(after, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"held": made(9)}, ValueError, "export: statistics: wanted images to describe, for held"),
        ({"expand": 9}, ValueError, "export: statistics: wanted images to describe, for expand"),
        (
            {"forgettable": True},
            ValueError,
            "export: statistics: wanted images to describe, for forgettable",
        ),
        ({"statistics": made(9), "forgettable": 1}, TypeError, "wanted True or False, got 1"),
        (
            {"statistics": made(9), "format": "onnx"},
            ValueError,
            'format: wanted "pyedge" for statistics, got "onnx"',
        ),
        ({"statistics": made(9)[0]}, ValueError, r"wanted \(images, labels\), got no labels"),
        ({"statistics": made(9), "expand": 0}, ValueError, "export: statistics: expand: wanted"),
        ({"statistics": (made(9)[0], [7] * 9)}, ValueError, "export: statistics: labels: wanted"),
        ({"statistics": (made(9)[0], [1])}, ValueError, "export: statistics: labels: wanted"),
        ({"statistics": made(9, shape=(3, 9, 9))}, ValueError, "EdgeImages: images: wanted"),
        ({"statistics": []}, ValueError, "wanted at least one, got none"),
        ({"statistics": 7}, TypeError, "EdgeImages: images: wanted an array, a folder"),
        ({"statistics": "nowhere"}, FileNotFoundError, "nowhere"),
        (
            {"statistics": DataLoader(Pairs(made(9)[0], [9] * 9), batch_size=3)},
            ValueError,
            "export: statistics: labels: wanted",
        ),
        (
            {"statistics": (made(20)[0][:8], [0] * 8), "held": made(9)},
            ValueError,
            "export: statistics: held .*b, c, d, e",
        ),
    ],
)
def test_export_statistics_that_cannot_be_are_named_and_nothing_is_written(
    student: Student, tmp_path: Path, options: dict[str, Any], kind: type, message: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(kind, match=message):
            write(student, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
