"""What bench/phone.py can find out about a device. A fact that cannot be read is None."""

from __future__ import annotations

import os
import re
import subprocess
from itertools import groupby
from pathlib import Path
from typing import Any

import pyedge
from bench.shared.timing import machine
from pyedge import kernels

# implementer 0x41 (Arm); other makers' numbers are shown as they are
_ARM_CORES = {
    0xD03: "A53", 0xD04: "A35", 0xD05: "A55", 0xD07: "A57", 0xD08: "A72", 0xD09: "A73",
    0xD0A: "A75", 0xD0B: "A76", 0xD0D: "A77", 0xD41: "A78", 0xD44: "X1", 0xD46: "A510",
    0xD47: "A710", 0xD48: "X2", 0xD4D: "A715", 0xD4E: "X3", 0xD80: "A520", 0xD81: "A720",
    0xD82: "X4",
}  # fmt: skip


def device_facts() -> dict[str, Any]:
    """Describe device, CPUs, memory and software."""
    cpus = kernels.cpus()
    total, available = _memory()
    facts = machine(None)
    del facts["torch"]
    return facts | {
        "pyedge": pyedge.__version__,
        "device": device_name() or facts["cpu"],
        "android": _property("ro.build.version.release"),
        "clusters": clusters(cpus, core_names(_text(Path("/proc/cpuinfo")))),
        "capacities_from": cpus.source,
        "big_cpus": list(cpus.big),
        "memory_bytes": total,
        "memory_available_bytes": available,
    }


def clusters(cpus: kernels.Cpus, cores: dict[int, str]) -> list[dict[str, Any]]:
    """Group the CPUs that are alike: runs of one capacity and one core, weakest first."""
    rows = sorted(
        (capacity, cores.get(number, ""), number)
        for number, capacity in zip(cpus.numbers, cpus.capacities, strict=True)
    )
    found = []
    for (capacity, core), group in groupby(rows, key=lambda row: row[:2]):
        numbers = [number for _, _, number in group]
        clock = _text(Path(f"/sys/devices/system/cpu/cpu{numbers[0]}/cpufreq/cpuinfo_max_freq"))
        found.append(
            {
                "cpus": numbers,
                "capacity": round(capacity),
                "core": core or None,
                "mhz": int(clock) // 1000 if clock and clock.strip().isdigit() else None,
                "big": numbers[0] in cpus.big,
            }
        )
    return found


def core_names(cpuinfo: str | None) -> dict[int, str]:
    """Name each CPU's core from the text of /proc/cpuinfo; empty on x86."""
    names: dict[int, str] = {}
    number = implementer = 0
    for line in (cpuinfo or "").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            number = int(value)
        elif key == "CPU implementer" and re.fullmatch("0x[0-9a-f]+", value):
            implementer = int(value, 16)
        elif key == "CPU part" and re.fullmatch("0x[0-9a-f]+", value):
            arm = _ARM_CORES.get(int(value, 16)) if implementer == 0x41 else None
            names[number] = arm or f"{implementer:#x}/{value}"
    return names


def device_name() -> str | None:
    """Name a phone by its maker's properties, a board by its device tree."""
    parts = [_property(f"ro.product.{name}") for name in ("manufacturer", "model")]
    chip = _property("ro.soc.model") or _property("ro.board.platform")
    if any(parts):
        return " ".join([*(p for p in parts if p), *([f"({chip})"] if chip else [])])
    board = _text(Path("/proc/device-tree/model"))
    return board.strip("\0\n ") if board else None


def _property(name: str) -> str | None:
    """Ask Android's getprop."""
    try:
        done = subprocess.run(["getprop", name], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _memory() -> tuple[int | None, int | None]:
    lines = dict(line.split(":", 1) for line in (_text(Path("/proc/meminfo")) or "").splitlines())
    sizes = [lines.get(name, "").split() for name in ("MemTotal", "MemAvailable")]
    total, available = (1024 * int(words[0]) if words else None for words in sizes)
    if total is None and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, available


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
