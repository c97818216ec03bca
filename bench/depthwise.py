"""Time depthwise 3x3 convolutions of the engine against the memory's bandwidth, and torch's.

    python -m bench.depthwise [--json] [--batch N]

The shapes are MobileNetV2's at 224 pixels, all images at once, so that maps go through memory as
in no step of the engine (there a depthwise convolution reads what a cache holds). Ours is the time
that the engine's profile names for the step in a prediction: its input read through a batch norm
and a ReLU6, and its result written. torch's is the convolution alone, in channels-last memory.
Each answer is checked against float64 before it is timed; what is compared takes turns.

The bytes that cannot but move are the input once and the output once. `of_read` is them over the
time, as a share of the bandwidth in the same rounds of a sum over the input's map, which reads
alone; `of_copy` of a copy of that map, which reads and writes as much as a stride of 1 does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from bench.shared.arguments import positive
from bench.shared.timing import machine
from pyedge import kernels
from pyedge.kernels import Engine
from pyedge.student.builder import GraphBuilder

try:
    import torch
    from torch.nn import functional
except ImportError:  # our rows alone then
    torch = None  # type: ignore[assignment]

# c, h = w, stride
SHAPES = ((32, 112, 1), (96, 112, 2), (144, 56, 1), (192, 28, 1), (384, 14, 1), (960, 7, 1))
ROUNDS = 9


class Layer:
    """A depthwise convolution of an image's channels, behind a batch norm and a ReLU6."""

    def __init__(self, c: int, side: int, stride: int, batch: int) -> None:
        random = np.random.default_rng(0)
        self.stride = stride
        self.scale = random.uniform(0.5, 1.5, c).astype(np.float32)
        self.shift = random.normal(1, 0.5, c).astype(np.float32)
        self.weight = random.standard_normal((c, 1, 3, 3)).astype(np.float32)
        self.images = random.integers(0, 256, (batch, c, side, side), dtype=np.uint8)
        builder = GraphBuilder((c, side, side))
        x = builder.add(
            "batch_norm", "norm", [0], eps=1e-9, weight=self.scale, bias=self.shift,
            mean=np.zeros(c, np.float32), variance=np.ones(c, np.float32),
        )  # fmt: skip
        x = builder.add("relu6", "relu", [x])
        options = {"stride": (stride, stride), "padding": (1, 1), "groups": c}
        x = builder.conv("depthwise", x, self.weight, **options)
        x = builder.add("global_avg_pool", "pool", [x])
        x = builder.add("flatten", "flatten", [x])
        self.engine = Engine(builder.nodes, builder.arrays, [c, side, side], x, [])
        self.engine.set_preprocessing("channel", [0.0] * c, [1.0] * c)
        self.engine.set_micro_batch(batch)
        self.engine.set_profiling(True)
        self.bytes_moved = 4 * batch * c * (side**2 + (side // stride) ** 2)

    def ours_ms(self) -> float:
        """The step's time in a prediction of all images."""
        self.engine.profile()  # takes and forgets what was there
        self.engine.predict(self.images)
        return sum(ms for name, _, ms in self.engine.profile() if name == "depthwise")

    def check(self) -> None:
        """Hold the pooled result of the first images to float64's."""
        images = self.images[:2]
        x = images.astype(np.float64) / 255 * self.scale[:, None, None] + self.shift[:, None, None]
        x = np.pad(np.clip(x, 0, 6), ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
        windows = windows[:, :, :: self.stride, :: self.stride]
        wanted = np.einsum("nchwyx,cyx->nc", windows, self.weight[:, 0].astype(np.float64))
        wanted /= windows.shape[2] * windows.shape[3]
        error = np.abs(self.engine.predict(images) - wanted).max()
        if not error < 1e-4 * np.abs(wanted).max():
            raise SystemExit(f"bench.depthwise: the engine is off by {error:.1e}")


def run_shape(c: int, side: int, stride: int, batch: int) -> dict[str, Any]:
    """Check, then time one layer; return its row."""
    layer = Layer(c, side, stride, batch)
    layer.check()
    x = np.random.default_rng(1).standard_normal((batch, side, side, c), dtype=np.float32)
    copy = np.empty_like(x)
    calls: dict[str, Callable[[], Any]] = {
        "sum": lambda: kernels.plain_sum(x),
        "copy": lambda: np.copyto(copy, x),
    }
    if torch is not None:
        tensor, to = (torch.from_numpy(some).permute(0, 3, 1, 2) for some in (x, copy))
        weight = torch.from_numpy(layer.weight)
        calls["torch sum"] = lambda: tensor.sum()
        calls["torch copy"] = lambda: to.copy_(tensor)
        calls["torch"] = lambda: functional.conv2d(
            tensor, weight, stride=stride, padding=1, groups=c
        )
    times: dict[str, list[float]] = {name: [] for name in ("ours", *calls)}
    layer.ours_ms()
    for _ in range(ROUNDS):
        times["ours"].append(layer.ours_ms())
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
            time.sleep(0.02)  # until torch's threads have stopped to spin
    found = {name: median(some) for name, some in times.items()}

    def share(name: str, moved: int) -> float:
        fastest = min(found[each] for each in (name, f"torch {name}") if each in found)
        return round(layer.bytes_moved / found["ours"] / (moved / fastest), 3)

    return {
        "shape": [batch, c, side, side],
        "stride": stride,
        "ms": round(found["ours"], 3),
        "gb_per_s": round(layer.bytes_moved / found["ours"] / 1e6, 1),
        "of_read": share("sum", x.nbytes),
        "of_copy": share("copy", 2 * x.nbytes),
        "vs_torch": round(found["torch"] / found["ours"], 2) if "torch" in found else None,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.depthwise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--batch", type=positive, help="images (default: maps of some 100 MB)")
    options = parser.parse_args(arguments)
    if torch is not None:
        torch.set_num_threads(kernels.num_threads())
    facts = machine(torch)
    if not options.json:
        print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n")
        print("shape                 stride      ms   GB/s  of read  of copy  vs torch")
    rows = []
    for c, side, stride in SHAPES:
        batch = options.batch or max(1, round(25e6 / (c * side * side)))
        row = run_shape(c, side, stride, batch)
        rows.append(row)
        if not options.json:
            shape = "x".join(map(str, row["shape"]))
            torch_ratio = "-" if row["vs_torch"] is None else f"{row['vs_torch']:.1f}x"
            print(
                f"{shape:<21} {stride:>6} {row['ms']:>7.2f} {row['gb_per_s']:>6.1f} "
                f"{row['of_read']:>8.0%} {row['of_copy']:>8.0%} {torch_ratio:>9}",
                flush=True,
            )
    if options.json:
        print(json.dumps({"machine": facts, "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
