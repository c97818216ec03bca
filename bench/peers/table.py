"""What was measured, as lines for a terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]
_HEAD = (
    "",
    "version",
    "step",
    "inference",
    "MB learning",
    "MB answering",
    "MB installed",
    "aarch64",
)


def text(found: Found) -> str:
    """Return a table for a terminal."""
    rows = [_HEAD, *_cells(found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    return "\n".join([_told(found), *lines, *_reasons(found)])


def markdown(found: Sequence[Found]) -> str:
    """Return a page of one table for each student."""
    parts = [_OPENING]
    for each in found:
        name = each["student"].replace("resnet", "ResNet ").replace("vgg", "VGG-16 ")
        parts.append(f"## {name}\n\n{_told(each)}\n")
        parts.append(f"| {' | '.join(_HEAD)} |\n|{'---|' * len(_HEAD)}")
        parts[-1] += "".join(f"\n| {' | '.join(row)} |" for row in _cells(each)) + "\n"
        parts.append("\n".join(f"- {line}" for line in _reasons(each)) + "\n")
    return "\n".join(parts)


_OPENING = """# Other engines

The same step and the same inference on what else runs on a device or trains there, written by
`python -m bench.peers` (`--help` tells how it measures): labels alone, the last convolution of each
group and the classifier learn, plain SGD. Figures with a "x" are times over pyedge's in float32, in
one run, interleaved; memory is that of the whole process during a call, installed is the package
with all that it requires, aarch64 whether there is a wheel for Linux.

`import MNN.tools` runs `pip install` with whatever pip it finds; the benchmark runs it with pip's
index shut off.
"""


def _told(found: Found) -> str:
    facts = found["machine"]
    student = f"{found['batch']} images, {found['threads']} threads, {found['student']}"
    return f"{facts['cpu']} ({facts['isa']}), {student}, medians of {found['rounds']}."


def _cells(found: Found) -> list[tuple[str, ...]]:
    ours: Found = next((row for row in found["rows"] if row["name"] == "pyedge, float32"), {})
    return [
        (
            row["name"],
            row.get("version", "-"),
            *(_time(row, ours, kind) for kind in ("step", "inference")),
            *(_megabytes(row.get(key)) for key in ("step_memory", "inference_memory", "bytes")),
            {True: "yes", False: "no", None: "-"}[row.get("aarch64")],
        )
        for row in found["rows"]
    ]


def _time(row: Found, ours: Found, kind: str) -> str:
    ms = row.get(f"{kind}_ms")
    if ms is None:
        reason = str(row.get("absent") or row.get(f"{kind}_unable", ""))
        return reason.partition(":")[0] if reason.startswith("does not") else "-"
    base = ours.get(f"{kind}_ms")
    return f"{ms:.1f} ms" + (f", {ms / base:.2f}x" if base else "")


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.0f}"


def _reasons(found: Found) -> list[str]:
    """Say what did not run, and what was scaled."""
    lines = []
    for row in found["rows"]:
        if "absent" in row:
            lines.append(f"{row['name']}: {row['absent']}")
        for kind in ("step", "inference"):
            if f"{kind}_unable" in row:
                lines.append(f"{row['name']}, {kind}: {row[f'{kind}_unable']}")
            batch = row.get(f"{kind}_batch", found["batch"])
            if batch != found["batch"]:
                times = found["batch"] / batch
                images = "1 image" if batch == 1 else f"{batch} images"
                lines.append(f"{row['name']}, {kind}: of {images}, times {times:g}")
    return lines
