"""The work of pyedge evaluate for a network file, with torch."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from pyedge.cli import dataset, expected, machine, names, networks
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError
from pyedge.cloud.training.evaluate import evaluated


def outcome(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Evaluate; return what is reported."""
    machine.check_device(args.device)
    machine.use_threads(args.threads)
    model, info = networks.open_network(args.network, args.model)
    only = names.ids(args.classes or (), info.classes, "--classes")
    data = dataset.load_for(console, args.data, info, of=args.network, splits=args.splits)
    chosen = {"train": data.train, "val": data.val, "test": data.test}
    wanted = list(chosen) if args.part == "all" else [args.part]
    sets = [part for name in wanted if (part := chosen[name]) is not None]
    if not sets:
        raise UsageError(f"--part {args.part}: {args.data} has no such images")
    if args.device != "cpu" and torch.cuda.is_available():
        model = model.cuda()
    batches = (
        batch
        for part in sets
        for batch in dataset.evaluation_loader(part, info.preprocessing, args.batch_size) or ()
    )
    found = evaluated(model, batches)
    expected.warn_if_far_below(args.network, model, info, found, sets[0])
    return {
        "found": found,
        "classes": info.classes,
        "only": only,
        "part": args.part,
        "kind": info.kind,
        "answers": "torch",
        "params": sum(p.numel() for p in model.parameters()),
    }
