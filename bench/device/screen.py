"""What bench/phone.py prints: one screen of a phone, 60 columns and 24 lines at the most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WIDTH = 60


def screen(report: dict[str, Any]) -> str:
    """Put the whole report on one screen."""
    lines = [
        *_device(report["device"]),
        "",
        *_threads(report["kernels"], report["threads"]),
        "",
        *_students(report["students"], report["batch"], report["default_threads"]),
        *_notes(report),
    ]
    return "\n".join(line[:WIDTH].rstrip() for line in lines)


def cluster_words(facts: dict[str, Any]) -> str:
    """Say how many CPUs of which capacity there are: '4 A55 of 290, 4 A78 of 1024'."""
    words = []
    for cluster in facts["clusters"]:
        core = f" {cluster['core']}" if cluster["core"] else ""
        words.append(f"{len(cluster['cpus'])}{core} of {cluster['capacity']}")
    return ", ".join(words)


def ranges(numbers: Sequence[int]) -> str:
    """Write CPU numbers as 0-3,7."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def _device(facts: dict[str, Any]) -> list[str]:
    system = f"Android {facts['android']}" if facts["android"] else facts["architecture"]
    lines = [
        f"pyedge {facts['pyedge']} on {facts['device']}",
        f"{system}, Python {facts['python']}, numpy {facts['numpy']}, path {facts['isa']}",
    ]
    if facts["clusters"]:
        lines.append(f"CPUs    {cluster_words(facts)}")
        alike = all(cluster["big"] for cluster in facts["clusters"])
        big = "all of them" if alike else ranges(facts["big_cpus"])
        lines.append(f"big     {big} (told by {facts['capacities_from']})")
    else:
        lines.append(f"CPUs    {facts['cpus']}; the system does not tell which are big")
    sizes = [facts["memory_bytes"], facts["memory_available_bytes"]]
    total, free = ("?" if size is None else f"{size / 2**30:.1f} GiB" for size in sizes)
    return [*lines, f"memory  {total}, {free} of it free"]


def _threads(kernel_rows: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[str]:
    def line(title: str, cells: Sequence[str]) -> str:
        return f"{title:<27}" + "".join(f"{cell:>10}" for cell in cells)

    return [
        line("threads", [row["threads"] for row in kernel_rows]),
        line("multiply-adds, GFLOP/s", [f"{row['fma_gflops']:.1f}" for row in kernel_rows]),
        line("reading memory, GB/s", [f"{row['read_gb_per_s']:.1f}" for row in kernel_rows]),
        line(f"{_title(rows[0]['student'])} step, ms", [_ms(row["step_ms"]) for row in rows]),
        line("  CPU time of all, ms", [_ms(row["cpu_ms"]) for row in rows]),
    ]


def _students(rows: Sequence[dict[str, Any]], batch: int, threads: int) -> list[str]:
    lines = [
        f"{'batch ' + str(batch) + ', threads ' + str(threads):<24}"
        f"{'infer ms':>11}{'learn ms':>11}{'category':>13}"
    ]
    for row in rows:
        title = f"{_title(row['student'])}, {row['params'] / 1e6:.2f}M"
        lines.append(
            f"{title:<24}{_ms(row['inference_ms']):>11}{_ms(row['step_ms']):>11}"
            f"{row['category_minutes']:>9.2f} min"
        )
    return lines


def _notes(report: dict[str, Any]) -> list[str]:
    category, lines = report["category"], []
    lines.append(
        f"category: {category['steps']} steps of {category['batch']} images, teacher's pack given"
    )
    lines.append("checked: gradients against plain code, losses fall")
    if report["quick"]:
        lines.append("--quick: a small batch and few rounds, too rough to quote")
    held = report["fma_at_the_end"]
    lines.append(f"FMA rate at the end: {held:.0%} of that at the start")
    load = report["device"].get("load_average_before", 0.0)
    if load > 1:
        lines.append(f"warning: other programs are at work (load {load})")
    return lines


def _title(student: str) -> str:
    return student.replace("resnet", "ResNet ")


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"
