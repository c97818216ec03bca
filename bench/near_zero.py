"""Which share of a layer's largest value counts as zero: digits, a network with SiLU.

    python -m bench.near_zero [--near-zero 0.01 0.02 0.05 0.1] [--seeds 3] [--activation silu]

A WRN-16 of widths 16, 32, 64 with another activation is trained on the demonstration's training
digits. For each share it is compressed to the same widths, a quarter and an eighth of the filters
of each layer, so that students have equally many parameters and differ in which filters stay.
Accuracy is that of the validation images, in per cent, inherited and after transfer with labels:
mean over seeds, with the smallest and the largest. `fraction` is the mean share that counts as zero
in the teacher's layers, which is what P is compared with. The row "relu" is the same network with
ReLU and exact zeros.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import pyedge
from bench.shared.timing import machine
from pyedge import models
from pyedge.cloud.compression.profile import NEAR_ZERO
from pyedge.cloud.tables import text_table
from pyedge.cloud.training.train_options import TrainOptions
from pyedge.data import BatchLoader, ImageSet, load_dataset

ACTIVATIONS = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hard_swish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
}
PARTS = (4, 8)


def network(activation: str) -> nn.Module:
    """Build the teacher, with this activation in the place of each ReLU."""
    model = models.wrn(16, widths=(16, 32, 64), num_classes=10, in_channels=1)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, ACTIVATIONS[activation]())
    return model


def trained(activation: str, data: ImageSet, seed: int, epochs: int) -> nn.Module:
    """Train a teacher."""
    torch.manual_seed(seed)
    model = network(activation)
    options = TrainOptions(epochs=epochs, lr=0.1, seed=seed, progress=False)
    pyedge.train(model, BatchLoader(data, 64, seed=seed), options=options)
    return model.eval()


def row(
    teacher: nn.Module,
    data: ImageSet,
    val: ImageSet,
    near_zero: float,
    part: int,
    seed: int,
    epochs: int,
) -> dict[str, float]:
    """Compress at one share to one part of the filters, and train the student."""
    loader = BatchLoader(data, 64, seed=seed)
    full = pyedge.plan(teacher, None, loader, widths={}, near_zero=near_zero)
    widths = [max(1, each.filters // part) for each in full.sets]
    plan = pyedge.plan(teacher, None, loader, widths=widths, near_zero=near_zero)
    student = plan.build()
    shown = BatchLoader(val, 256, shuffle=False)
    before = pyedge.evaluate(student, shown).accuracy
    options = TrainOptions(epochs=epochs, lr=0.05, seed=seed, progress=False)
    pyedge.transfer(student, teacher, BatchLoader(data, 64, seed=seed), options=options)
    after = pyedge.evaluate(student, shown).accuracy
    fractions = [float(conv.zero_fraction.mean()) for conv in plan.profile.convs.values()]
    return {
        "params": plan.params,
        "fraction": statistics.mean(fractions),
        "before": 100 * before,
        "after": 100 * after,
    }


def table(
    activation: str, shares: Sequence[float], seeds: int, epochs: tuple[int, int]
) -> list[tuple[Any, ...]]:
    """Return the rows of the table: for each part of the filters one of ReLU and of each share."""
    data, val, _ = load_dataset("digits")
    teachers = {
        name: [trained(name, data, seed, epochs[0]) for seed in range(seeds)]
        for name in ("relu", activation)
    }
    rows = []
    for part in PARTS:
        for name, share in (("relu", NEAR_ZERO), *((activation, share) for share in shares)):
            found = [
                row(teacher, data, val, share, part, seed, epochs[1])
                for seed, teacher in enumerate(teachers[name])
            ]
            label = "exact" if name == "relu" else f"{share:g}"
            fraction = f"{statistics.mean(each['fraction'] for each in found):.2f}"
            columns = [_spread([each[key] for each in found]) for key in ("before", "after")]
            rows.append((name, label, f"{found[0]['params']:,}", fraction, *columns))
            print(*rows[-1], file=sys.stderr, flush=True)
    return rows


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.near_zero")
    parser.add_argument("--near-zero", type=float, nargs="+", default=[0.01, 0.02, 0.05, 0.1])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--activation", choices=list(ACTIVATIONS)[1:], default="silu")
    parser.add_argument(
        "--epochs", type=int, nargs=2, default=(10, 5), metavar=("TEACHER", "STUDENT")
    )
    args = parser.parse_args(argv)
    rows = table(args.activation, args.near_zero, args.seeds, tuple(args.epochs))
    head = ("activation", "near_zero", "parameters", "fraction", "inherited", "after transfer")
    print(text_table(head, rows))
    print(f"\n{machine(torch)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
