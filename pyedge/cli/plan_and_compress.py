"""Shared by `plan` and `compress`: open the teacher, measure its zeros, plan."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import nn

import pyedge
from pyedge.cli import dataset, machine, networks, workers
from pyedge.cli.console import Console
from pyedge.cli.dataset import Data
from pyedge.cloud.compression.plan import Plan
from pyedge.cloud.network_file import NetworkInfo
from pyedge.data import BatchLoader


@dataclass(frozen=True)
class Made:
    """A plan, and what it was made from; `picture` is one preprocessed image c h w."""

    plan: Plan
    teacher: nn.Module
    info: NetworkInfo
    data: Data
    picture: torch.Tensor


def plan_of(args: argparse.Namespace, console: Console, init: str = "inherit") -> Made:
    """Plan as the command line says."""
    spread = workers.number(args)
    machine.check_device(args.device)
    machine.use_threads(args.threads)
    teacher, info = networks.open_network(args.network, args.model, "teacher")
    if spread is not None:
        workers.send_own_code()
    data = dataset.load_for(console, args.data, info, of=args.network, splits=args.splits)
    if args.device != "cpu" and torch.cuda.is_available():
        teacher = teacher.cuda()
    plan = pyedge.plan(
        teacher,
        args.P,
        BatchLoader(data.train, 128, seed=args.seed, prefetch=0, preprocessing=info.preprocessing),
        widths=args.widths,
        max_params=args.max_params,
        max_macs=args.max_macs,
        near_zero=args.near_zero,
        min_width=args.min_width,
        round_to=args.round_to,
        keep=args.keep,
        init=init,  # type: ignore[arg-type]
        head=args.head,
        structure=args.structure,
        max_images=args.max_images,
        workers=spread,
        seed=args.seed,
    )
    shown = data.train if data.val is None else data.val
    picture = torch.from_numpy(info.preprocessing.apply(shown.images[:1].numpy())[0])
    return Made(plan, teacher, info, data, picture)
