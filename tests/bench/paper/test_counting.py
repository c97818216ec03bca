"""Convergence as Table 3 counts it, recorded files, slices of time, batches made on a device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench.paper.convergence import converged_at, reached_at  # noqa: E402
from bench.paper.device_loader import DeviceLoader, distorted  # noqa: E402
from bench.paper.images import digest, generated, load_images  # noqa: E402
from bench.paper.report.columns import Column, cell  # noqa: E402
from bench.paper.report.gathered import Line  # noqa: E402
from bench.paper.results import Results, commit  # noqa: E402
from bench.paper.slices import Slice, SlicedLoader, SliceEndError  # noqa: E402
from pyedge.data import Augment, BatchLoader  # noqa: E402

_HISTORY = [
    {"step": 10, "val_accuracy": 0.5},
    {"step": 20, "val_accuracy": 0.8},
    {"step": 30, "val_accuracy": 0.8},
    {"step": 40, "val_accuracy": 0.7},
]


def test_convergence_is_the_first_of_the_best_evaluations():
    assert converged_at(_HISTORY) == 20
    assert converged_at(_HISTORY[2:]) == 30
    with pytest.raises(ValueError, match=r"history: wanted an evaluation"):
        converged_at([])


def test_an_accuracy_is_reached_at_the_first_step_that_has_it_or_never():
    assert reached_at(_HISTORY, 0.5) == 10
    assert reached_at(_HISTORY, 0.6) == 20
    assert reached_at(_HISTORY, 0.81) is None


def test_results_are_written_after_each_seed_and_found_again(tmp_path: Path):
    origin = {"command": "c", "commit": "1", "machine": {"cpu": "m"}}
    first = Results(tmp_path, "table1", "smoke", origin)
    first.add("cifar", "teacher", 0, {"accuracy": 90.0}, ours=False, data="d")
    later = Results(tmp_path, "table1", "smoke", {**origin, "commit": "2"})
    assert later.has("cifar", "teacher", 0)
    assert not later.has("cifar", "teacher", 1)
    assert not later.has("wrn", "teacher", 0)
    later.add("cifar", "teacher", 1, {"accuracy": 91.0}, ours=False, data="d")
    found = json.loads((tmp_path / "table1_smoke.json").read_text())
    assert [each["commit"] for each in found["origins"]] == ["1", "2"]
    assert found["origins"][0]["data"] == "d"
    (row,) = found["rows"]
    assert row["seeds"] == {
        "0": {"accuracy": 90.0, "origin": 0},
        "1": {"accuracy": 91.0, "origin": 1},
    }


def test_results_refuse_another_tables_file(tmp_path: Path):
    (tmp_path / "table2_cpu.json").write_text('{"table": "table1", "scale": "cpu"}')
    with pytest.raises(ValueError, match=r"table2_cpu\.json: wanted the figures of table2"):
        Results(tmp_path, "table2", "cpu", {})


def test_commit_is_told_or_unknown():
    assert commit() == "unknown" or len(commit().rstrip("+")) == 12


def test_digest_tells_images_and_parts_apart(tmp_path: Path):
    parts = load_images("generated", tmp_path, tmp_path)
    assert digest(parts) == digest(load_images("generated", tmp_path, tmp_path))
    assert digest(parts) != digest(parts._replace(val=parts.test, test=parts.val))


def test_missing_archives_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"caltech101\.tar\.xz"):
        load_images("caltech101", tmp_path, tmp_path)


def test_a_slice_ends_at_the_first_checkpoint_after_its_time(tmp_path: Path):
    checkpoint = tmp_path / "training"
    loader = SlicedLoader(generated(4, 0), 5, slice_=Slice(0), checkpoint=checkpoint)
    batches = iter(loader)
    next(batches)
    next(batches)  # over, but nothing has been written since
    checkpoint.write_text("a checkpoint")
    with pytest.raises(SliceEndError):
        next(batches)


def test_a_slice_without_end_never_ends(tmp_path: Path):
    loader = SlicedLoader(generated(4, 0), 5, slice_=Slice(None), checkpoint=tmp_path / "t")
    assert len(list(loader)) == 4
    Slice(None).check()
    with pytest.raises(SliceEndError):
        Slice(0).check()


@pytest.mark.parametrize(
    "augment", [Augment(), Augment(0, True, 0), Augment(2, False, 8)], ids=repr
)
def test_images_distorted_on_a_device_are_those_of_the_cpu(augment: Augment):
    images = torch.randn(9, 3, 16, 20)
    draw = augment.draw(9, 16, 20, np.random.default_rng(0))
    wanted = torch.from_numpy(augment.apply(images.numpy(), draw))
    torch.testing.assert_close(distorted(images, augment, draw), wanted, rtol=0, atol=0)


def test_device_loader_gives_the_batches_of_the_other_loader(tmp_path: Path):
    images, augment = generated(6, 0), Augment()
    own = DeviceLoader(
        images, 7, augment=augment, seed=3, slice_=Slice(None), checkpoint=tmp_path / "t",
        device=torch.device("cpu"),
    )  # fmt: skip
    other = BatchLoader(images, 7, augment=augment, seed=3)
    for loader in (own, other):
        loader.set_epoch(2)
    pairs = list(zip(own, other, strict=True))
    assert len(pairs) == 5
    for (x, y), (wanted, labels) in pairs:
        torch.testing.assert_close(x, wanted)
        assert torch.equal(y, labels)


def test_a_figure_that_some_seeds_have_not_says_so() -> None:
    column = Column("steps_to_goal", "steps", lambda value: f"{value:.0f}")

    def line(*found: int | None) -> Line:
        seeds = {str(seed): {"steps_to_goal": each} for seed, each in enumerate(found)}
        return Line("cifar", "transfer", False, seeds, {})

    assert cell(line(), column) == ""
    assert cell(line(None, None), column) == "never"
    assert cell(line(100, None), column) == "100 (1 of 2 seeds)"
    assert cell(line(100, 120), column) == "110 ± 14"
    assert cell(Line("cifar", "teacher", False, {"0": {"accuracy": 1.0}}, {}), column) == ""
