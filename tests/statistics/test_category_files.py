"""Category files and statistics files: whole again, small, and checked without trust."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyedge
from pyedge.files.npy_archive import open_archive, write_archive
from pyedge.statistics.category_file import read_category, write_category
from pyedge.statistics.compact import Mean, Spread, mean_of, moments_of, spread_of
from pyedge.statistics.compact import sums_of as back
from pyedge.statistics.gaussian import scatter_of
from pyedge.statistics.grid import rounded, square, step_for
from pyedge.statistics.stored import check_values
from tests.support.statistics_case import DIGEST, clouds, same, sums_of


def written(
    path: Path, features: np.ndarray, detail: str, rank: int = 32, name: str = "mug"
) -> pyedge.Statistics:
    step = step_for(features)
    values = rounded(features, step).values
    return write_category(path, values, name, digest=DIGEST, step=step, detail=detail, rank=rank)


@pytest.mark.parametrize("detail", ["mean", "low_rank", "full"])
@pytest.mark.parametrize("count", [1, 2, 60])
def test_category_file_comes_back_to_the_last_bit(tmp_path: Path, detail: str, count: int) -> None:
    features = clouds(count=count, classes=1)[0]
    found = written(tmp_path / "a", features, detail)
    assert same(found, read_category(tmp_path / "a"))
    assert found.classes == ("mug",)
    whole = sums_of(features, np.zeros(count, np.int64), pooled=False)
    np.testing.assert_array_equal(found.counts, whole.counts)
    np.testing.assert_array_equal(found.sums, whole.sums)
    if detail == "full":
        np.testing.assert_array_equal(found.moments, whole.moments)
        np.testing.assert_array_equal(found.held, whole.held)


def test_category_file_of_498_features_takes_4_kb(tmp_path: Path) -> None:
    features = np.maximum(clouds(count=500, features=498, classes=1)[0], 0)
    written(tmp_path / "mean", features, "mean", name="a mug " * 30)
    assert (tmp_path / "mean").stat().st_size <= 4000
    written(tmp_path / "low", features, "low_rank", rank=8)
    assert (tmp_path / "low").stat().st_size <= 12_000


@pytest.mark.parametrize("count", [1, 3, 1000, 16383])
def test_mean_gives_the_sums_back(count: int) -> None:
    random = np.random.default_rng(count)
    sums = random.integers(-(1 << 16) * count, (1 << 16) * count, 50)
    np.testing.assert_array_equal(back(mean_of(sums, count), count), sums)
    largest = np.array([(1 << 20) * count, -(1 << 20) * count])
    np.testing.assert_array_equal(back(mean_of(largest, count), count), largest)


@pytest.mark.parametrize("count", [5, 200])
def test_low_rank_of_all_directions_is_the_scatter(count: int) -> None:
    features = clouds(count=count, features=20, classes=1)[0]
    values = rounded(features, step_for(features)).values
    away = values - values.mean(axis=0)
    exact = away.T @ away
    spread = spread_of(values, 20)
    moments = moments_of(values.sum(axis=0, dtype=np.int64), count, spread)
    sums = values.sum(axis=0).astype(np.float64)
    found = square(moments, 20) - np.outer(sums, sums) / count
    # factors are rounded to 2^-16 of the largest
    assert np.abs(found - exact).max() < 1e-3 * np.abs(exact).max()


@pytest.mark.parametrize("rank", [1, 3, 10])
def test_low_rank_keeps_the_trace_and_is_sound(tmp_path: Path, rank: int) -> None:
    features = np.maximum(clouds(count=80, features=30, classes=1)[0], 0)
    features[:, 4] = 0  # a feature that is never there
    found = written(tmp_path / "a", features, "low_rank", rank=rank)
    check_values(found)
    values = rounded(features, found.step).values
    exact = float(((values - values.mean(axis=0)) ** 2).sum())
    scatter = scatter_of(found, np.array([True]))
    assert np.trace(scatter) == pytest.approx(exact, rel=1e-3)
    assert np.linalg.eigvalsh(scatter).min() > -1e-6 * exact


def test_moments_without_room_are_refused() -> None:
    spread = Spread(np.full((1, 2), 32767, np.int16), 24, 0)
    with pytest.raises(ValueError, match="larger than so many images"):
        moments_of(np.zeros(2, np.int64), 1, spread)
    assert back(Mean(np.array([3], np.int32), 0), 2).tolist() == [6]


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def _changed(path: Path, kind: str, change: Change) -> None:
    with open_archive(path, kind) as archive:
        document = archive.document()
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files if name != "graph.json"}
    change(document, arrays)
    write_archive(path, document, arrays)


def _grown(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    arrays["mean"] = np.zeros(1 << 14, np.int32)
    document["arrays"]["mean"]["shape"] = [1 << 14]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, a: d.update(format="pyedge-student"), "not a category file"),
        (lambda d, a: d.update(version=2), "of version 2"),
        (lambda d, a: d.update(detail="half"), "detail: .*one of"),
        (lambda d, a: d.update(more=1), "unknown 'more'"),
        (lambda d, a: d.pop("rest"), "lacks 'rest'"),
        (lambda d, a: d.update({"class": 7}), "class: .*is no text"),
        (lambda d, a: d.update({"class": "a\nb"}), "control character"),
        (lambda d, a: d.update(digest="f"), "64 hexadecimal"),
        (lambda d, a: d.update(step=0.3), "power of two"),
        (lambda d, a: d.update(count=0), "count: .*a whole number"),
        (lambda d, a: d.update(count=True), "count: .*a whole number"),
        (lambda d, a: d.update(exponent=25), "exponent: .*25"),
        (lambda d, a: d.update(rest=-1), "rest: .*-1"),
        (lambda d, a: d.update(exponent=24, rest=1 << 62), "larger than so many images"),
        (lambda d, a: d["arrays"].pop("factors"), "arrays: wanted"),
        (lambda d, a: d["arrays"]["mean"].update(dtype="int64"), "mean: .*int32"),
        (lambda d, a: d["arrays"]["factors"].update(shape=[5, 8]), "factors: wanted"),
        (_grown, "features: .*from 1"),
        (lambda d, a: a["mean"].fill(2**31 - 1) or d.update(shift=0), "larger than so many"),
        (lambda d, a: a.update(other=np.zeros(1, np.int32)), "'other.npy', which is unknown"),
    ],
)
def test_category_file_that_does_not_fit_says_what_is_wrong(
    tmp_path: Path, change: Change, message: str
) -> None:
    path = tmp_path / "mug.category"
    written(path, clouds(count=30, classes=1)[0], "low_rank", rank=5)
    _changed(path, "a category file", change)
    with pytest.raises(pyedge.FormatError, match=message):
        read_category(path)


def test_category_file_with_moments_of_no_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mug.category"
    written(path, clouds(count=30, classes=1)[0], "full")
    _changed(path, "a category file", lambda d, a: a["moments"].fill(0))
    with pytest.raises(pyedge.FormatError, match="variance below 0"):
        read_category(path)


@pytest.mark.parametrize("kind", ["category", "statistics"])
def test_file_that_is_cut_or_altered_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    features, labels = clouds(count=10)
    if kind == "category":
        written(path, features, "low_rank")
    else:
        pyedge.write_statistics(sums_of(features, labels), path)
    read = {"category": read_category, "statistics": pyedge.read_statistics}[kind]
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:size])
        with pytest.raises(pyedge.FormatError, match="file"):
            read(path)
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(pyedge.FormatError, match="damaged"):
        read(path)


@pytest.mark.parametrize("pooled", [True, False])
def test_statistics_file_comes_back_to_the_last_bit(tmp_path: Path, pooled: bool) -> None:
    known = sums_of(*clouds(), pooled=pooled)
    pyedge.write_statistics(known, tmp_path / "a")
    found = pyedge.read_statistics(tmp_path / "a")
    assert same(found, known)
    assert not found.sums.flags.writeable


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, a: d.update(format="pyedge-category"), "not a statistics file"),
        (lambda d, a: d.update(version="1"), "of version '1'"),
        (lambda d, a: d.update(classes=[1, 2, 3, 4]), "class 0"),
        (lambda d, a: d.update(step=3.0), "power of two"),
        (lambda d, a: a["counts"].fill(0), "counts: .*from 1"),
        (lambda d, a: a["counts"].fill(1 << 60), "counts: .*from 1"),
    ],
)
def test_statistics_file_that_does_not_fit_says_what_is_wrong(
    tmp_path: Path, change: Change, message: str
) -> None:
    pyedge.write_statistics(sums_of(*clouds()), tmp_path / "a")
    _changed(tmp_path / "a", "a statistics file", change)
    with pytest.raises(pyedge.FormatError, match=message):
        pyedge.read_statistics(tmp_path / "a")


def test_statistics_file_refuses_what_it_could_not_read(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="wanted Statistics, got a dict"):
        pyedge.write_statistics({}, tmp_path / "a")  # type: ignore[arg-type]
    known = sums_of(*clouds())
    wrong = dataclasses.replace(known, moments=known.moments * 0)
    with pytest.raises(pyedge.FormatError, match="variance below 0"):
        pyedge.write_statistics(wrong, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(TypeError, match="path: wanted a file's path"):
        pyedge.read_statistics(3)  # type: ignore[arg-type]
