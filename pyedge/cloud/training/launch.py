"""Start a run on the processes and devices that the options ask for, and bring the result back."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from torch import nn
from torch.utils.data import DataLoader

from pyedge.arguments import kind_of, shown
from pyedge.classes.matching import classes_of, same_classes
from pyedge.cloud.feed.batch import Source
from pyedge.cloud.feed.failures import fail
from pyedge.cloud.feed.loaders import check_loader
from pyedge.cloud.graph.modes import with_gradients
from pyedge.cloud.shown import (
    compare_classes,
    compare_preprocessing,
    loaders_preprocessing,
    remember,
    remember_classes,
    remember_loader,
    shown_to,
)
from pyedge.cloud.training.checkpoint import load_checkpoint, save_checkpoint
from pyedge.cloud.training.evaluate import Evaluation
from pyedge.cloud.training.history import TrainResult
from pyedge.cloud.training.loop import Job, Trainer
from pyedge.cloud.training.objectives import Objective
from pyedge.cloud.training.train_options import TrainOptions
from pyedge.images.pixels import Look


def run(
    title: str,
    model: nn.Module,
    objective: Objective,
    loader: Any,
    options: TrainOptions,
    *,
    val: Any = None,
    test: Any = None,
    score: Callable[[Evaluation], float] | None = None,
) -> TrainResult:
    """Train `model` on `objective` in place and return what happened.

    `score` ranks evaluations (default: accuracy). Several devices: strategy "ddp_spawn" starts the
    processes itself, and the script then needs the usual `if __name__ == "__main__":`; "ddp" runs
    the script once in each process. Each process takes its part of every batch of a BatchLoader; a
    torch DataLoader's batch_size is that of each process. Batch statistics are then those of a
    part: on CUDA batch norm is synchronised; on CPU use batch_norm="frozen" for the result of a
    single process.

    Raises ValueError if the loaders' data sets name their classes in different orders.
    """
    job = Job(title, model, objective, loader, val, test, score, options)
    check_loader(loader, Source(job.function))
    if val is not None:
        check_loader(val, Source(job.function, "val"), again=True)
    if test is not None:
        check_loader(test, Source(job.function, "test"))
    if score is not None and not callable(score):
        raise TypeError(f"{title}: score: wanted a function of an Evaluation, got {shown(score)}")
    if options.patience is not None and val is None:
        raise ValueError(
            f"{title}: val: wanted a loader, which patience needs to rank evaluations, got None"
        )
    if score is not None and val is None:
        raise ValueError(
            f"{title}: val: wanted a loader, which score needs to rank evaluations, got None"
        )
    same_classes(title, loader=loader, val=val, test=test)
    names = classes_of(loader)
    if job.function != "train":
        for each in (model, getattr(objective, "teacher", None)):
            compare_classes(each, names, f"{title}: loader")
    compare_preprocessing(model, loader, title)
    if loaders_preprocessing(loader) is not None:
        _same_preprocessing(title, loader, val=val, test=test)
    remember_loader(model, loader)
    with with_gradients():
        result = _launched(job)
    remember_classes(model, names)
    return result


def _same_preprocessing(title: str, loader: Any, **others: Any) -> None:
    """Raise ValueError where a run would be measured on images of another preprocessing."""
    wanted = loaders_preprocessing(loader)
    for name, other in others.items():
        got = loaders_preprocessing(other)
        if got is not None and wanted is not None and not got.agrees(wanted):
            raise ValueError(
                f"{title}: {name}: wanted the preprocessing of the training loader, {wanted}, got "
                f"{got}"
            )


def _launched(job: Job) -> TrainResult:
    fabric = _fabric(job)
    if fabric.strategy.__class__.__name__ != "SingleDeviceStrategy":
        _check_several(job)
    if not isinstance(fabric.strategy.launcher, _MultiProcessingLauncher):
        return fabric.launch(_work, job)  # type: ignore[arg-type]
    return _run_in_children(fabric, job)


def _fabric(job: Job) -> Fabric:
    options = job.options
    try:
        return Fabric(
            accelerator=_accelerator(options.accelerator),
            devices=options.devices,
            strategy=options.strategy,
            precision=options.precision,  # type: ignore[arg-type]
        )
    except Exception as error:  # of many kinds, some of Lightning's own
        fail(
            error,
            f"{job.function}: accelerator={options.accelerator!r}, devices={options.devices!r} and "
            f"strategy={options.strategy!r} do not work here",
        )


def _accelerator(name: str) -> str:
    # Fabric's "auto" may choose Apple's MPS, which has no float64 for the sums of the losses
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _check_several(job: Job) -> None:
    """Refuse, before any process starts, a loader that processes cannot share."""
    loader, title = job.loader, job.title
    if hasattr(loader, "shard"):
        return
    if not isinstance(loader, DataLoader):
        raise TypeError(
            f"{title}: loader: wanted a pyedge.data.BatchLoader or a torch DataLoader, to be "
            f"shared between processes, got {kind_of(loader)}"
        )
    if job.options.resume:
        raise ValueError(
            f"{title}: resume on several devices needs a pyedge.data.BatchLoader, whose order "
            "follows from seed and epoch"
        )


def _run_in_children(fabric: Fabric, job: Job) -> TrainResult:
    """Run in processes that Fabric starts and that are gone when it returns.

    Everything is passed through files. torch itself uses shared memory, of which containers have
    little; the processes would then train one copy of the weights, and a result would be lost with
    its sender.
    """
    with tempfile.TemporaryDirectory(prefix="pyedge-") as folder:
        try:
            torch.save(job, Path(folder, "job"))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"{job.title}: strategy={job.options.strategy!r} starts processes: wanted what can "
                f"be pickled (functions at the top of a module), got {error}"
            ) from error
        fabric.launch(_work_in_child, folder)  # type: ignore[arg-type]
        state = load_checkpoint(Path(folder, "result"))
    job.model.load_state_dict(state["weights"])
    remember(job.model, Look.from_dict(state["shown"]))
    return _unpacked(state["result"])


def _work_in_child(fabric: Fabric, folder: str) -> None:
    # the file was written by the caller a moment ago, into a folder of its own
    job = torch.load(Path(folder, "job"), map_location="cpu", weights_only=False)
    result = _work(fabric, job)
    if fabric.global_rank == 0:
        look = shown_to(job.model)
        state = {
            "weights": job.model.state_dict(),
            "result": _packed(result),
            "shown": None if look is None else look.to_dict(),
        }
        save_checkpoint(Path(folder, "result"), state)
    _leave_together(fabric)


def _leave_together(fabric: Fabric) -> None:
    """Close the group of processes while all of them still run.

    When that was left to the end of the process, a background thread of the group was once still
    running in one process after another had ended, and C++ aborts then.
    """
    if torch.distributed.is_initialized():
        fabric.barrier()
        torch.distributed.destroy_process_group()


def _work(fabric: Fabric, job: Job) -> TrainResult:
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        return _with_synchronised_batch_norm(fabric, job)
    return Trainer(fabric, job).fit()


def _with_synchronised_batch_norm(fabric: Fabric, job: Job) -> TrainResult:
    original = job.model
    job.model = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(original))
    result = Trainer(fabric, job).fit()
    original.load_state_dict(job.model.state_dict())
    remember(original, shown_to(job.model))
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
