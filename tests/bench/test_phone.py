"""bench/phone.py: what it reads of a device, what it measures, and the screen that it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.device import measuring, reading, screen
from pyedge import kernels
from tests.support.paths import ROOT

PHONE = kernels.Cpus(
    numbers=tuple(range(8)),
    capacities=(290.0,) * 4 + (780.0,) * 3 + (1024.0,),
    big=(4, 5, 6, 7),
    source="cpu_capacity",
)
CPUINFO = """\
Processor\t: AArch64 Processor rev 14 (aarch64)
processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd05

processor\t: 4
CPU implementer\t: 0x51
CPU part\t: 0x804
"""


def made_up_report() -> dict:
    """A report of a phone whose names and figures are as wide as they come."""
    cores = dict(enumerate(["A510"] * 4 + ["A710"] * 3 + ["X2"]))
    device = {
        "pyedge": "0.10.0",
        "device": "Manufacturer With A Long Name Model 14 Ultra Pro (MT6983Z/TCZA)",
        "android": "16",
        "python": "3.14.10",
        "numpy": "2.10.10",
        "isa": "neon",
        "clusters": reading.clusters(PHONE, cores),
        "capacities_from": PHONE.source,
        "big_cpus": list(PHONE.big),
        "memory_bytes": 15 << 30,
        "memory_available_bytes": None,
        "load_average_before": 12.0,
    }
    kernel = {"fma_gflops": 1234.5, "read_gb_per_s": 123.4}
    step = {"student": "resnet4", "step_ms": 123456.7, "cpu_ms": 999999.9}
    student = {"params": 2_000_968, "inference_ms": 123456.7, "category_minutes": 987.65}
    names = ("1", "4 big", "8 all")
    return {
        "device": device,
        "quick": True,
        "batch": 128,
        "default_threads": 4,
        "category": {"steps": 64, "batch": 128},
        "kernels": [kernel | {"threads": name} for name in names],
        "threads": [step | {"threads": name} for name in names],
        "students": [student | {"student": f"resnet{i}", "step_ms": 654321.0} for i in range(1, 5)],
        "fma_at_the_end": 0.71,
    }


def test_screen_fits_a_phone():
    lines = screen.screen(made_up_report()).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 60
    text = "\n".join(lines)
    assert "4 A510 of 290, 3 A710 of 780, 1 X2 of 1024" in text
    assert "big     4-7 (told by cpu_capacity)" in text
    assert "15.0 GiB, ? of it free" in text
    assert "654,321   987.65 min" in text  # nothing was cut off
    assert "FMA rate at the end: 71% of that at the start" in text


def test_screen_of_a_device_that_tells_nothing():
    report = made_up_report()
    report["device"] |= {"clusters": [], "cpus": 4, "android": None, "architecture": "arm64"}
    text = screen.screen(report)
    assert "CPUs    4; the system does not tell which are big" in text
    assert "arm64, Python" in text


def test_cpu_numbers_are_written_as_ranges():
    assert screen.ranges([7, 0, 1, 2, 5]) == "0-2,5,7"
    assert screen.ranges([]) == ""


def test_cores_are_named_from_cpuinfo():
    assert reading.core_names(CPUINFO) == {0: "A55", 4: "0x51/0x804"}
    assert reading.core_names(None) == {}
    assert reading.core_names("model name : x86\nCPU part : seven\n\x00:") == {}


def test_clusters_keep_cores_apart():
    found = reading.clusters(PHONE, {0: "A55", 1: "A55", 2: "A55", 3: "A55"})
    assert [(c["cpus"], c["capacity"], c["core"], c["big"]) for c in found] == [
        ([0, 1, 2, 3], 290, "A55", False),
        ([4, 5, 6], 780, None, True),
        ([7], 1024, None, True),
    ]
    alike = kernels.Cpus((0, 1), (1024.0, 1024.0), (0, 1), "cpu_capacity")
    assert len(reading.clusters(alike, {0: "A76", 1: "A76"})) == 1
    assert len(reading.clusters(alike, {0: "A76"})) == 2


def test_threads_to_compare_are_one_the_big_ones_and_all(monkeypatch: pytest.MonkeyPatch):
    def choices(cpus: kernels.Cpus) -> dict[str, int]:
        monkeypatch.setattr(kernels, "cpus", lambda: cpus)
        return measuring.thread_choices()

    assert choices(PHONE) == {"1": 1, "4 big": 4, "8 all": 8}
    assert choices(PHONE._replace(big=PHONE.numbers)) == {"1": 1, "8 all": 8}
    assert choices(PHONE._replace(big=(7,))) == {"1": 1, "8 all": 8}
    assert choices(kernels.Cpus((3,), (1024.0,), (3,), "nothing")) == {"1": 1}
    monkeypatch.setattr(kernels, "num_threads", lambda: 4)
    assert choices(kernels.Cpus((), (), (), "nothing")) == {"1": 1, "4 all": 4}


def test_batch_fits_half_of_the_free_memory():
    names = ("resnet1", "resnet4")
    assert measuring.fitting_batch(names, None) == 128
    assert measuring.fitting_batch(names, 8 << 30) == 128
    batches = [measuring.fitting_batch(names, mib << 20) for mib in (800, 400, 150, 1)]
    assert batches == sorted(batches, reverse=True)
    assert batches[0] < 128
    assert batches[-1] == 8


def test_check_stops_for_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch):
    if len(kernels.available_isas()) < 2:
        pytest.skip("no other path to be wrong")
    student = measuring.make_student("resnet4")
    found = measuring.check(student)
    assert found["differences"]["gradients"] < 5e-3
    assert found["loss"][1] < found["loss"][0]
    right = measuring.EngineStepper.answer

    def wrong(stepper: measuring.EngineStepper) -> measuring.Answer:
        answer = right(stepper)
        if kernels.isa() != "reference":
            answer.gradients["classifier.weight"] *= 1.01
        return answer

    monkeypatch.setattr(measuring.EngineStepper, "answer", wrong)
    isa = kernels.isa()
    with pytest.raises(SystemExit, match=r"plain code .*gradients"):
        measuring.check(student)
    assert kernels.isa() == isa


def test_phone_runs_with_numpy_alone(tmp_path: Path):
    code = "import sys; sys.modules['torch'] = None; from bench.phone import main; main()"
    path = tmp_path / "phone.json"
    command = [sys.executable, "-c", code, "--quick", "--batch=2", "--repeats=1", "--json", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(path.read_text(encoding="utf-8"))
    assert done.stdout.rstrip("\n") == screen.screen(report)
    assert [row["student"] for row in report["students"]] == [f"resnet{i}" for i in range(1, 5)]
    for row in report["students"]:
        assert row["step_ms"] > 0
        assert row["inference_ms"] > 0
        assert row["category_minutes"] == pytest.approx(64 * 64 * row["step_ms"] / 6e4, abs=1e-3)
        first, last = row["checks"]["loss"]
        assert last < first
    assert report["kernels"][0]["fma_gflops"] > 0
    assert {row["threads"] for row in report["threads"]} == set(measuring.thread_choices())
    assert report["device"]["memory_bytes"] is None or report["device"]["memory_bytes"] > 0
