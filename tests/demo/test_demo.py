"""The demonstration's jobs on a short schedule, its report, its page, its mistakes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pyedge import demo  # noqa: E402
from pyedge.data import load_dataset  # noqa: E402
from pyedge.demo import edge_job  # noqa: E402
from pyedge.demo.device import (  # noqa: E402
    incremental_job,
    new_classes,
    seen_classes,
    unseen_job,
)
from pyedge.demo.edge_process import EdgeTask, on_device  # noqa: E402
from pyedge.demo.figures import as_png, figure_compression  # noqa: E402
from pyedge.demo.job import Job, save_sets  # noqa: E402
from pyedge.demo.page import write_page  # noqa: E402
from pyedge.demo.presets import DIGITS, Preset  # noqa: E402
from pyedge.demo.protocol import compression_job, teacher_job  # noqa: E402
from pyedge.demo.summary import as_text, summarise  # noqa: E402

SHORT: Preset = dataclasses.replace(
    DIGITS,
    model_options={"depth": 10, "widths": (16, 32, 64)},
    teacher={"epochs": 4, "lr": 0.1},
    student={"epochs": 1, "lr": 0.05},
    base={"epochs": 2, "lr": 0.05},
    incremental={**DIGITS.incremental, "steps": 24},
    unseen={"steps": 30, "lr": 0.1},
    thresholds=(0.9, 0.6),
    profile_images=256,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("jobs")
    save_sets(load_dataset("digits"), folder)
    job = Job(SHORT, folder, folder / "pictures", seed=0, threads=1)
    found = {
        "teacher": [teacher_job(job)],
        "compression": [compression_job(job)],
        "incremental": [incremental_job(job)],
        "unseen": [unseen_job(job)],
    }
    return found, folder / "pictures"


@pytest.fixture(scope="module")
def report(results: tuple[dict[str, Any], Path]) -> dict[str, Any]:
    made = summarise(results[0], SHORT, [0], "digits")
    made["classes"] = [str(digit) for digit in range(10)]
    made["images"] = {"train": 1293, "val": 145, "test": 359}
    made["command"] = "pyedge demo --seeds 1"
    return made


def test_demo_teacher_learns(report: dict[str, Any]) -> None:
    assert report["teacher"]["accuracy"] > 0.9


def test_demo_students_shrink_with_the_threshold(report: dict[str, Any]) -> None:
    wide, thin = report["compression"]
    assert thin["params"] < wide["params"] < report["teacher"]["params"]
    assert thin["ratio"] == pytest.approx(report["teacher"]["params"] / thin["params"])


def test_demo_transfer_keeps_old_classes_better_than_finetuning(report: dict[str, Any]) -> None:
    assert report["incremental"]["transfer"]["old"] > report["incremental"]["finetune"]["old"] + 0.1


def test_demo_unseen_categories_need_the_teacher(report: dict[str, Any]) -> None:
    assert report["unseen"]["independent"] < 0.05
    assert report["unseen"]["transfer"] > 0.3


def test_demo_device_learns_what_torch_learns(
    report: dict[str, Any], results: tuple[dict[str, Any], Path]
) -> None:
    # one seed of a short schedule: views that are drawn beforehand make some points of difference
    incremental, unseen = report["incremental"], report["unseen"]
    for way in ("transfer", "finetune"):
        for key in ("old", "new"):
            there, here = incremental["torch"][way][key], incremental[way][key]
            assert here == pytest.approx(there, abs=0.12), (way, key)
    for way in ("transfer", "fresh"):
        assert unseen[way] == pytest.approx(unseen["torch"][way], abs=0.25), way
    for part in ("incremental", "unseen"):
        for more in results[0][part][0]["engine"]:
            assert more["last_loss"] < more["first_loss"]


def test_demo_device_refuses_to_work_where_torch_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks.json").write_text("[]")
    assert edge_job.main(tmp_path) == 1  # here torch can be imported
    assert "without torch" in capsys.readouterr().err
    assert on_device(tmp_path, []) == []  # and in the device's own process it cannot
    with pytest.raises(RuntimeError, match="the device's process failed"):
        on_device(tmp_path, [EdgeTask(student="none.pyedge", test="none.npz")])


def test_demo_report_has_the_promised_keys(report: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(report))
    assert {"P", "accuracy", "params", "ratio"} <= plain["compression"][0].keys()
    assert {"old", "new", "mean"} <= plain["incremental"]["transfer"].keys()
    assert {"old", "new", "mean"} <= plain["incremental"]["finetune"].keys()
    assert {"transfer", "independent", "fitnet"} <= plain["unseen"].keys()
    assert 0 <= plain["teacher"]["accuracy"] <= 1


def test_demo_mean_and_spread_come_from_the_seeds() -> None:
    from pyedge.demo.summary import _spread

    found = _spread("old", [0.5, 0.7, 0.9])
    assert found["old"] == pytest.approx(0.7)
    assert found["old_std"] == pytest.approx(0.2)
    assert _spread("old", [0.5])["old_std"] == 0


def test_demo_text_tells_every_part(report: dict[str, Any]) -> None:
    text = as_text(report)
    for word in ("P = 0.9", "with transfer", "without transfer", "FitNet", "weighted"):
        assert word in text


def test_demo_page_is_self_contained(
    report: dict[str, Any], results: tuple[dict[str, Any], Path]
) -> None:
    found, pictures = results
    page = write_page(report, found["compression"][0]["table"], pictures)
    assert page.count("data:image/png;base64,") == 6
    assert 'src="http' not in page
    assert "<script" not in page


def test_demo_figure_survives_a_failed_student(report: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(report))
    broken["compression"][0]["accuracy"] = math.nan
    assert as_png(figure_compression(broken)).startswith(b"\x89PNG")


def test_demo_categories_change_with_the_seed() -> None:
    assert [new_classes(10, seed) for seed in range(3)] == [[9], [8], [7]]
    assert [seen_classes(10, seed) for seed in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert seen_classes(5, 2) == [0, 4]


def test_demo_refuses_no_seeds(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    args = parser.parse_args(["--seeds", "0", "--out", str(tmp_path / "out")])
    with pytest.raises(ValueError, match=r"--seeds: .*1, got 0"):
        demo.run(args)
    assert not (tmp_path / "out").exists()
