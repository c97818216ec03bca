"""Start a run on the processes and devices that the options ask for, and bring the result back."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from pyedge.cloud.checkpoint import load_checkpoint, save_checkpoint
from pyedge.cloud.evaluate import Evaluation
from pyedge.cloud.history import TrainResult
from pyedge.cloud.loop import Job, Trainer
from pyedge.cloud.objectives import Objective
from pyedge.cloud.options import TrainOptions


def run(
    title: str,
    model: nn.Module,
    objective: Objective,
    loader: Any,
    options: TrainOptions,
    *,
    val_loader: Any = None,
    test_loader: Any = None,
    score: Callable[[Evaluation], float] | None = None,
) -> TrainResult:
    """Train `model` on `objective` in place and return what happened.

    `score` ranks evaluations (default: accuracy). Several devices: strategy "ddp_spawn" starts the
    processes itself, and then the script needs the usual `if __name__ == "__main__":`; "ddp" runs
    the script once a process. Each process takes its part of every batch of a BatchLoader; a torch
    DataLoader's batch_size counts for each process. Batch statistics are then those of a part: on
    CUDA batch norm is synchronised, on CPU use batch_norm="frozen" for the single-process result.
    """
    if options.patience is not None and val_loader is None:
        raise ValueError(f"{title}: patience needs val_loader, to tell better from worse")
    if score is not None and val_loader is None:
        raise ValueError(f"{title}: score needs val_loader, there is nothing to rank")
    fabric = Fabric(
        accelerator=_accelerator(options.accelerator),
        devices=options.devices,
        strategy=options.strategy,
        precision=options.precision,  # type: ignore[arg-type]
    )
    _check_several(fabric, options, loader, title)
    job = Job(title, model, objective, loader, val_loader, test_loader, score, options)
    with tempfile.TemporaryDirectory(prefix="pyedge-") as folder:
        hand_over = Path(folder, "result")
        result = fabric.launch(_work, job, os.getpid(), str(hand_over))
        if result is None:  # the work was done in processes that are gone
            state = load_checkpoint(hand_over)
            model.load_state_dict(state["weights"])
            result = _unpacked(state["result"])
    return result


def _accelerator(name: str) -> str:
    # Fabric's "auto" may choose Apple's MPS, which has no float64 for the sums of the losses
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _check_several(fabric: Fabric, options: TrainOptions, loader: Any, title: str) -> None:
    if fabric.strategy.__class__.__name__ == "SingleDeviceStrategy":
        return
    if options.resume and not hasattr(loader, "shard"):
        raise ValueError(
            f"{title}: resume on several devices needs a pyedge.data.BatchLoader, whose order "
            "follows from seed and epoch"
        )


def _work(fabric: Fabric, job: Job, caller: int, hand_over: str) -> TrainResult | None:
    """Run on one of the processes; the first hands the weights over where it is not the caller's.

    A file, because what a process sends through a queue is gone with it: torch shares tensors, and
    the sender must outlive them.
    """
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        result = _with_synchronised_batch_norm(fabric, job)
    else:
        result = Trainer(fabric, job).fit()
    if os.getpid() == caller:
        return result
    if fabric.global_rank == 0:
        save_checkpoint(hand_over, {"weights": job.model.state_dict(), "result": _packed(result)})
    return None


def _with_synchronised_batch_norm(fabric: Fabric, job: Job) -> TrainResult:
    original = job.model
    job.model = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(original))
    result = Trainer(fabric, job).fit()
    original.load_state_dict(job.model.state_dict())
    job.model = original
    return result


def _packed(result: TrainResult) -> dict[str, Any]:
    values = dict(vars(result))
    test = values.pop("test")
    values["test"] = None if test is None else {"confusion": test.confusion, "loss": test.loss}
    values.pop("stages")
    return values


def _unpacked(values: dict[str, Any]) -> TrainResult:
    test = values.pop("test")
    return TrainResult(**values, test=None if test is None else Evaluation(**test))
