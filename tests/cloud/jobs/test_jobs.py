"""Packs, statistics and profiles by two processes of Ray: the same bits as by one."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pyedge
from pyedge import cli, models
from pyedge.cloud.compression.plan import Plan
from pyedge.cloud.jobs.spread import spread
from pyedge.cloud.network_file import NetworkInfo, save_network
from pyedge.data import BatchLoader, ImageSet
from tests.support.edge_student import tiny_student
from tests.support.knowledge_case import loud_teacher, pixels
from tests.support.ray_cluster import NO_RAY, Dying, Telling, time_limit, two_processes

pytest.importorskip("ray", reason=NO_RAY)
image = pytest.importorskip("PIL.Image")
# Ray's own, of what it will drop one day and of what it leaves open
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CLASSES = ("blue", "green", "red")
OPTIONS = {"depth": 16, "widths": (6, 8, 10), "stem": 4, "num_classes": 3}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with two_processes():
        yield


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    with time_limit(180):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ in three classes, of many sizes, and a file that is none; teacher.pt, student.pt."""
    folder = tmp_path_factory.mktemp("jobs")
    random = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(100):
            photo = random.integers(0, 256, (12 + i % 5, 14, 3), dtype=np.uint8)
            image.fromarray(photo).save(folder / "photos" / name / f"{i}.png")
    (folder / "photos" / "red" / "page.jpg").write_bytes(b"<html><body>not found</body></html>")
    torch.manual_seed(0)
    teacher = models.create("wrn", **OPTIONS).eval()
    info = NetworkInfo(builder="wrn", options=OPTIONS, classes=CLASSES, input_shape=(3, 12, 12))
    save_network(folder / "teacher.pt", teacher, info)
    return folder


def test_pack_of_a_folder_has_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    grey = tmp_path / "grey"
    grey.mkdir()
    for i, each in enumerate(pixels(300)):
        image.fromarray(each[0]).save(grey / f"{i:03}.png")
    options = {"views": 2, "dtype": "int8", "batch_size": 70, "progress": False}
    student, teacher = tiny_student(), loud_teacher()
    alone = pyedge.make_knowledge(student, teacher, grey, tmp_path / "alone", **options)
    found = pyedge.make_knowledge(student, teacher, grey, tmp_path / "both", workers=2, **options)
    assert found.digest == alone.digest
    found.check_images(grey)
    # the same images from memory, and batch norm over each batch
    options = {"teacher_batch_norm": "batch", "batch_size": 60, "progress": False}
    alone = pyedge.make_knowledge(student, teacher, pixels(200), tmp_path / "alone", **options)
    found = pyedge.make_knowledge(
        student, teacher, pixels(200), tmp_path / "both", workers=2, **options
    )
    assert found.digest == alone.digest


def test_broken_image_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "grey").mkdir()
    for i, each in enumerate(pixels(40)):
        image.fromarray(each[0]).save(tmp_path / "grey" / f"{i:02}.png")
    broken = tmp_path / "grey" / "21.png"  # not one of those that are looked at beforehand
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(pyedge.FormatError, match=r"grey/21\.png: not an image, or a broken one"):
        pyedge.make_knowledge(
            tiny_student(), loud_teacher(), tmp_path / "grey", tmp_path / "pack", workers=2
        )
    assert [each.name for each in tmp_path.iterdir()] == ["grey"]


def run(line: str) -> None:
    assert cli.main([*line.split(), "--quiet", "--json"]) == 0


def test_command_lines_write_the_same_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    ray = "--engine ray --workers 2"
    for i, how in enumerate(("", ray)):
        run(f"compress teacher.pt photos --P 0.6 --max-images 200 --out cut{i}.pt {how}")
        run(f"export cut0.pt --statistics photos --expand 8 --out s{i}.pyedge {how}")
        some = "--only-classes blue,red"
        run(f"knowledge s0.pyedge --teacher teacher.pt photos {some} --out k{i} {how}")
    capsys.readouterr()
    files = [zipfile.ZipFile(f"s{i}.pyedge") for i in range(2)]
    assert files[0].namelist() == files[1].namelist()
    for name in files[0].namelist():
        assert files[0].read(name) == files[1].read(name), name
    assert int(pyedge.read_student("s1.pyedge").statistics.counts.sum()) == 216  # 0.8 x 0.9 of 300
    assert pyedge.Knowledge("k0").digest == pyedge.Knowledge("k1").digest
    weights = [torch.load(f"cut{i}.pt", weights_only=True) for i in range(2)]
    assert str(weights[0]) == str(weights[1])


class Noise(torch.utils.data.Dataset):
    """300 images, each made when it is asked for."""

    def __len__(self) -> int:
        return 300

    def __getitem__(self, i: int) -> torch.Tensor:
        random = np.random.default_rng(i)
        return torch.from_numpy(random.standard_normal((3, 12, 12), dtype=np.float32))


def same_profiles(one: Plan, other: Plan) -> bool:
    assert one.profile.convs.keys() == other.profile.convs.keys()
    return all(
        mine.images == its.images
        and mine.largest == its.largest
        and torch.equal(mine.histogram, its.histogram)
        and torch.equal(mine.zero_sum, its.zero_sum)
        for mine, its in zip(one.profile.convs.values(), other.profile.convs.values(), strict=True)
    )


@pytest.mark.parametrize("kind", ["dataset", "loader"])
def test_profile_is_the_same_to_the_last_bit(kind: str) -> None:
    net = models.create("wrn", **OPTIONS).eval()
    if kind == "dataset":  # where close to zero counts, the first batch says what is close
        for block in net.modules():
            for name, child in block.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(block, name, nn.SiLU())
        images = Noise()
    else:
        random = torch.Generator().manual_seed(0)
        shown = torch.randint(0, 256, (300, 3, 12, 12), dtype=torch.uint8, generator=random)
        images = BatchLoader(ImageSet(shown, torch.zeros(300).long(), ["x"]), 128, seed=3)
    alone = pyedge.plan(net, 0.5, images, max_images=290)
    found = pyedge.plan(net, 0.5, images, max_images=290, workers=2)
    assert alone.profile.images == 290
    assert same_profiles(alone, found)
    assert alone.widths == found.widths


def test_part_of_a_process_that_was_killed_is_done_again(tmp_path: Path) -> None:
    mark = tmp_path / "killed"
    assert list(spread(Dying(mark), range(8), 2, "test")) == [i * i for i in range(8)]
    assert mark.exists()


def complain(part: int) -> int:
    warnings.warn(f"part {part}: is odd", UserWarning, stacklevel=1)
    if part == 2:
        raise KeyError("two")
    return part


def test_warnings_are_told_once_and_an_error_is_raised_as_it_was() -> None:
    results = spread(Telling(complain), range(4), 2, "test")
    with pytest.warns(UserWarning, match="part 0: is odd"):
        assert next(results) == 0
    assert next(results) == 1  # a second warning would be an error
    with pytest.raises(KeyError, match="two"):
        next(results)


def test_images_that_workers_cannot_share_are_refused() -> None:
    net = models.create("wrn", **OPTIONS).eval()
    for images in (None, torch.zeros(4, 3, 12, 12), [torch.zeros(4, 3, 12, 12)]):
        with pytest.raises(TypeError, match="plan: images: wanted for workers a Dataset"):
            pyedge.plan(net, 0.5, images, workers=2)
    with pytest.raises(ValueError, match="plan: workers: wanted a whole number from 1, got 0"):
        pyedge.plan(net, 0.5, Noise(), workers=0)
